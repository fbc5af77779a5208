"""What the paper of TADrop claims, and what the committed tables say of it."""
