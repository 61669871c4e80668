"""Measures a running system and holds the figures against their targets.

Read `figures` (the values of a report), `agents` (who is measured), `load` (how), `registry` (the
scenarios by name), then a scenario such as `baseline`. Uses the public names a user has; every
figure comes from live messages between live agents.
"""

__all__: list[str] = []
