"""One XLA program."""
