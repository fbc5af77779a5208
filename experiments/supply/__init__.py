"""What the project leans on: whether advisories name it, and its oldest versions."""
