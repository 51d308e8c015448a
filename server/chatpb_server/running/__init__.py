"""How a relay is configured, built and run."""
