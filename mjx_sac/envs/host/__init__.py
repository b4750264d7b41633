"""Environments that live on the host."""
