"""Torch files of every generation, read as data: nothing in them is imported or executed.

Imports pickles, and of torch only what makes a tensor of mapped bytes.
"""
