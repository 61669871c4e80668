"""Deleting queues: what was in them becomes dead letters, and their place is freed.

Stands on the doors. The core's uf_queue.h says why nothing is lost on the way, and nothing comes to
another queue; who empties a deleted queue may be anybody, and may die: the manager goes on.
"""

from __future__ import annotations

from typing import Final

from ultrafast.bus.consumer import Buried
from ultrafast.bus.wire import Reason
from ultrafast.core import Queues, Receiver
from ultrafast.errors import QueueDeleted

__all__ = ["empty_deleted"]

_BATCH: Final = 64
# What is put while a queue is deleted is let in once more at most by each sender.
_ROUNDS: Final = 16


def empty_deleted(
    queues: Queues,
    index: int,
    closing: int,
    bury: Buried,
    reason: Reason = Reason.QUEUE_DELETED,
) -> int:
    """Empty a deleted queue, and free its place if nobody has anything of it.

    Parameters
    ----------
    queues : Queues
    index, closing : int
        As `Queues.delete` or `Queues.closing` told it.
    bury : callable
        Makes a message a dead letter.
    reason : Reason
        Why they are.

    Returns
    -------
    int
        Messages that became dead letters here.
    """
    receiver = Receiver(queues, index, 0, closing)
    buried = 0
    try:
        for _ in range(_ROUNDS):
            while batch := receiver.adopt(_BATCH) or receiver.take(_BATCH):
                for message in batch:
                    bury(message, reason)
                buried += len(batch)
            if queues.retire(index, closing) or queues.length(index) == 0:
                break  # or a consumer has something of it: the manager looks again
    except QueueDeleted:
        pass  # another was quicker, and freed the place
    return buried
