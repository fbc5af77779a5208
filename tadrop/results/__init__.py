"""Records, and what is derived from them: tables, intervals, figures, published
numbers. Imports evaluation and below.
"""
