"""The doors onto the core: a module for each structure of csrc/, and what they say in common.

Stands on the compiled modules beside it and on `ultrafast.errors`. Decides nothing: a door
converts, calls, checks and converts back.

`_region` regions and process slots; `_pool` what is known of blocks; `_queue` sending, `_receiver`
receiving, `_message` what was received, `_items` both for a queue alone; `_plainsender` and
`_plainreceiver` bytes by single calls; `_waiting` how every door waits; `_correlations` numbers of
messages; `_loan` writing a payload in place, `_share` one payload for many; `_table` the store's
table, `_changes` what changed in it, `_store` its shortest calls, `_entries` what they share;
`_agents` agent records, `_bodies` payloads of bodies, `_sender` sending to agents, `_delivery`
handing them what comes, `_departure` what a move waits for, `_requests` who waits for which answer,
`_awaited` how a task waits for one, `_asking` requests from the call to the answer, `_steps` what
both are awaited by, `_walkers` first steps of handlers that may wait; `_metrics` counters and
histograms; `_status` statuses and their exceptions; `sizes` what a region is made of; `answers` the
named tuples that the doors answer with; `advice` what to do when the operating system refuses.
"""

from __future__ import annotations

from ultrafast.core._agents import Agents
from ultrafast.core._changes import Changes, restore
from ultrafast.core._declared import Declared
from ultrafast.core._delivery import Handover, Incoming, Seat
from ultrafast.core._departure import Departure
from ultrafast.core._loan import Loan
from ultrafast.core._message import Message
from ultrafast.core._metrics import Metrics, bucket_upper
from ultrafast.core._queue import Queues
from ultrafast.core._receiver import Receiver
from ultrafast.core._region import Region, now_ns, region_bytes
from ultrafast.core._sender import Outlet, Sender
from ultrafast.core._share import share
from ultrafast.core._table import Table
from ultrafast.core._views import Held, hold, stamp_of
from ultrafast.core.answers import AgentInfo, BlockCount, Entry, OwnerInfo, Recovery
from ultrafast.core.sizes import Sizes

__all__ = [
    "AgentInfo",
    "Agents",
    "BlockCount",
    "Changes",
    "Declared",
    "Departure",
    "Entry",
    "Handover",
    "Held",
    "Incoming",
    "Loan",
    "Message",
    "Metrics",
    "Outlet",
    "OwnerInfo",
    "Queues",
    "Receiver",
    "Recovery",
    "Region",
    "Seat",
    "Sender",
    "Sizes",
    "Table",
    "bucket_upper",
    "hold",
    "now_ns",
    "region_bytes",
    "restore",
    "share",
    "stamp_of",
]
