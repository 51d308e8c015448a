"""What comes out of logs and tables."""
