"""Delta Lake: where a table is, its log, and its commits."""
