"""Boards: what they run, what of it is recorded, and what is written from the records.

Imports the runs, the results and below.
"""
