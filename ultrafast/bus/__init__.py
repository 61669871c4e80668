"""Messages between processes.

`wire` what the numbers in a message mean; `endpoint` a process's inbox; `bus` messages to agents,
`answers` what their askers get; `publications` by subject, `subscription` and `groups` who gets
them, `directory` who wants what; `workqueue` and `consumer` named queues; `deadletters` what could
not be delivered; `topics` matching of subjects; `events` handlers of what happens,
`bridge` joins those of all processes; `plainqueue` a queue alone.
Names are exported by `ultrafast` itself.
"""
