"""What a checkpoint's files say without a forward pass."""
