"""What keeps a table small and sound: optimize, delete, vacuum, verify."""
