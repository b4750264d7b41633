"""A run on disk: its directory, configuration, checkpoints and curves."""
