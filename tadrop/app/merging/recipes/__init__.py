"""Merges as YAML files: those of this suite, those of mergekit, and where a line is."""
