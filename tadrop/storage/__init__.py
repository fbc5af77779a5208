"""Files: checkpoints in and out, the hub's folders, atomic files and folders.

Imports numerics and what lies below it.
"""
