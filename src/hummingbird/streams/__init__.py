"""Bytes of a file from another place: what checkpoints and crawled videos share."""
