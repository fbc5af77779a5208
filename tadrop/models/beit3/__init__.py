"""BEiT-3: the transformer, a head for each task, decoding of captions."""
