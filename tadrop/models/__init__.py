"""Backbones: one file a kind, all by the Model protocol. Imports merging and below."""
