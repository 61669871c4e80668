"""Whole systems: manager, workers, command line."""
