"""Checkpoints on disk merged and looked at, a verb a file."""
