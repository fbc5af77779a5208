"""Pickles read as data: a program's objects as inert nodes.
Imports torch's dtypes alone.
"""
