"""Tasks done by Claude: what a task is, how it is asked, answered, cached and counted.

Read `tasks` (the values), `profiles` (who does it), `model` (what a model must offer), `claude`
(the real one, and the only importer of `anthropic`), `cache`, `files`, then `executor`, which puts
them together. Names are exported by `ultrafast` itself.
"""

__all__: list[str] = []
