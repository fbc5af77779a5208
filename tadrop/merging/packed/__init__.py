"""The packed form of a merge: as few bytes as its entries need, and exact.

Imports vectors, storage and below.
"""
