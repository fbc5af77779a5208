"""CLIP: the model, names in every packaging, zero-shot heads."""
