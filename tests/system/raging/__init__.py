"""The parts of the chaos run: its agents, their books, and the run itself.

Stand on `soaking` for the sampling of what must not grow.
"""
