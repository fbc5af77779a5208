"""Controls of TADrop: as many entries kept, dealt out by another rule than the adaptive
one. A file each. Imports sparsify.
"""
