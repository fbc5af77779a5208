"""Compiled loops, each with its plain oracle beside its caller: over entries, signed
values, matrix rows, and the formulas that pass over every entry many times. Imports
nothing of ours.
"""
