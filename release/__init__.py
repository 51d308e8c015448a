"""Builds, checks and names the packages that are published: `make dist`, `make test-dist`."""
