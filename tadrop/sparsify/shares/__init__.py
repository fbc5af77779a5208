"""How the entries that a task keeps are shared out among its vectors. Imports
numerics, protocols and the rules beside it.
"""
