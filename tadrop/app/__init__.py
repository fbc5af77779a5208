"""The program: from configuration to a run, boards of runs, the console, trackers.
Imports everything below.
"""
