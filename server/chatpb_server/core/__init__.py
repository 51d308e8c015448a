"""One call, whoever brings it."""
