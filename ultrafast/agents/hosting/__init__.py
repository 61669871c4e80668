"""The agents of one process: their coming, their messages, their ends.

`host` is `AgentHost`, made of four parts, each standing on the next: what happens to messages is in
`host`, how agents change their worker in `moving`, how they come and go in `lodging`, how they fail
and end in `endings`; `hosted` is what is kept of each. `nursery` and `warming` build them;
`walking` goes on with handlers that wait, `errands` are their tasks, `timers` their timers;
`rollcall` asks whether they live; `blocking` says who keeps the loop from turning.
"""
