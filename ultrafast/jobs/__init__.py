"""A file of tasks, done by a crew of agents: the work behind `ultrafast run`.

Read `plan` (the file, its faults and who waits for whom), `journal` (what is on disk), `crew` (the
agents and what they know of a job), then `runner`, which puts them together, and `summary`. The
command line stands on top; nothing here prints.
"""

__all__: list[str] = []
