"""One run: from configuration to merged weights, scores and a record."""
