"""Public checkpoints: which there are, how they are fetched, and the store that keeps them."""
