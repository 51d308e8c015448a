"""What an input is, and how it is read."""
