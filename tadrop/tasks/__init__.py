"""Task families: data, splits and grading, by the Tasks protocol. Imports models and
below.
"""
