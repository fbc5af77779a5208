"""Readings of the "ratio" of TADrop's abstract other than that of two quantiles."""
