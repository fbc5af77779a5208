"""What kinds of tensors a checkpoint holds,
and what becomes of each kind in a merge.
"""
