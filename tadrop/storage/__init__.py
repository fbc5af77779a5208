"""Files: checkpoints in and out, the hub's folders, atomic writes. Imports numerics."""
