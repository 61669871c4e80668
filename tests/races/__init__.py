"""Threads and processes at once; every message is counted."""
