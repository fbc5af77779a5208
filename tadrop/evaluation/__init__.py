"""A model on its tasks: the bench, selection on validation data, statistics. Imports
tasks and below.
"""
