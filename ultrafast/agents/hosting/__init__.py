"""The agents of one process: their coming, their messages, their ends.

`host` is `AgentHost`, made of three parts, each standing on the next: what happens to messages is
in `host`, how agents come and go in `lodging`, how they fail and end in `endings`. `nursery` and
`warming` build them; `errands` are their tasks, `timers` their timers; `rollcall` asks whether they
live; `blocking` says who keeps the loop from turning.
"""
