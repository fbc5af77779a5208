"""Trackers of experiments, one file each; imports the runs' parts,
the results and below.
"""
