"""What makes writing safe: hidden names, what killed writers left,
what may be replaced.
"""
