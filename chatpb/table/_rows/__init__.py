"""Records as the rows of Arrow, and back."""
