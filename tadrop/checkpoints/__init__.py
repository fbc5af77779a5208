"""Checkpoints as their users have them, of any architecture: from words to folders, and
from folders to tensors under the base's names. May import storage and vectors.
"""
