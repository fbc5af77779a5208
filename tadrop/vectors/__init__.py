"""Task vectors as a stream, passes over it, and merged deltas. Imports storage and
below.
"""
