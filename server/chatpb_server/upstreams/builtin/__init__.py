"""The builtin upstream: a deterministic model inside the relay."""
