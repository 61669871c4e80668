"""Messages between processes.

`wire` what the numbers in a message mean; `endpoint` a process's inbox; `bus` messages to agents;
`publications` by subject; `workqueue` and `consumer` named queues; `deadletters` what could not be
delivered; `topics` matching of subjects; `events` handlers of what happens; `answers` errors on
their way.
Names are exported by `ultrafast` itself.
"""
