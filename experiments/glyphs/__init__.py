"""How the embedded checkpoints are trained: recipe, base, fine-tuning, card."""
