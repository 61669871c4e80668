"""Messages between processes.

`wire` what the numbers in a message mean; `endpoint` a process's inbox; `bus` messages to agents,
requests, publications, dead letters; `topics` matching of subjects; `events` handlers of events.
Names are exported by `ultrafast` itself.
"""
