"""The processes of a system: `supervisor` in the manager keeps them, `worker` is one.

`workers` is what the manager knows of each, `handles` its process, `control` the pipe between;
`spares` wait to take a place, `recycling` replaces one that takes too much memory, `affinity` binds
them to processors; `mending` takes back what the dead held, `termination` is the end by SIGTERM.

`adoption` finds a dead system's region, and takes over one whose workers live: `succession` finds
them, each at its `door`; a `caretaker` among them looks after the system until then. `stopping`
ends a system from outside.
"""
