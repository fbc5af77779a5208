"""Rules that cut task vectors, the stream that applies them, TADrop and its controls.
Imports vectors and below.
"""
