"""Agents and the processes they live in.

`agent` what users subclass; `context` what an agent can do; `registry` types on the way to workers;
`host` the agents of one process; `spawner` begins and ends them; `pools` keeps warm ones; `control`
the pipe to a worker; `worker` that process; `supervisor` keeps workers alive; `assembly` fits parts
together; `builtin` the five types that come along. Names are exported by `ultrafast` itself.
"""
