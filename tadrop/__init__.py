"""Merge fine-tuned models, with or without Tensor-wise Adaptive Drop.

from tadrop import merge_checkpoints, tadrop_

merge_checkpoints("base", ["expert_a", "expert_b"], "out", merge="ties", tadrop=True)
tadrop_(tau)                       # one task vector's tensor, in place
"""

from tadrop.app.library import merge_checkpoints, tadrop_

__all__ = ["merge_checkpoints", "tadrop_"]
