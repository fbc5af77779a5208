"""Task sets, one family a file, and the rooms of what they are made of. Imports models
and below.
"""
