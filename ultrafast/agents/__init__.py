"""Agents and the processes they live in.

`agent` is what users subclass, `builtin` the five types that come along, `context` what an agent
can do, `population` what anybody can do with agents, `registry` types on the way to workers;
`state` is what an agent keeps, `restarts` what its type says of failures, `cards` are names, groups
and links, `monitors` tell of ends, `statistics` is a system at a moment.
`placing` begins and ends agents, `hosting` is the life of those of one process, `processes` keeps
those processes; `assembly` fits them together. Names are exported by `ultrafast` itself.
"""
