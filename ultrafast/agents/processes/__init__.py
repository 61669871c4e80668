"""The processes of a system: `supervisor` in the manager keeps them, `worker` is one.

`workers` is what the manager knows of each, `control` the pipe between; `spares` wait to take a
place, `recycling` replaces one that takes too much memory, `affinity` binds them to processors;
`adoption` finds a dead system's region, `termination` is the end by SIGTERM.
"""
