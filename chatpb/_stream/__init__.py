"""Streams: chunks to a completion and back, and chunks that leave out what repeats."""
