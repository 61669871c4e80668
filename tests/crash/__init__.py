"""Processes killed at every step; survivors go on, nothing leaks."""
