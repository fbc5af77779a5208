"""What every word of the configuration may be; checked without torch,
before anything is read.
"""
