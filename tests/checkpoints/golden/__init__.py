"""What mergekit makes of three tiny models, and what made it: make.py."""
