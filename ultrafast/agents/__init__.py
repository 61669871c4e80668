"""Agents and the processes they live in.

`agent` is what users subclass, `builtin` the five types that come along, `context` what an agent
can do, `population` what anybody can do with agents, `registry` types on the way to workers.
`placing` begins and ends agents, `hosting` is the life of those of one process, `processes` keeps
those processes; `assembly` fits them together. Names are exported by `ultrafast` itself.
"""
