"""How good a merge is: models on disk measured on data of one's own, and compared."""
