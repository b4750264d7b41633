"""The loop around it."""
