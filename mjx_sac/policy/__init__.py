"""What was trained, used: load it, evaluate it, export it, record it."""
