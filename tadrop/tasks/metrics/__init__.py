"""Metrics of a whole split that are no mean over its examples."""
