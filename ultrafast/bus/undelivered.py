"""`Undelivered`: messages become dead letters, and dead letters messages again.

Stands on the dead letters and an `Endpoint`. It does not decide what can't be delivered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ultrafast.bus.answers import told_to_asker
from ultrafast.bus.deadletters import DeadLetter, DeadLetters, Sealed, sealed_in
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.replies import Replies
from ultrafast.bus.wire import Kind, Reason
from ultrafast.bus.workqueue import GROUPS, PRIVATE
from ultrafast.core import Message, now_ns
from ultrafast.errors import EntryMissing
from ultrafast.metric_names import Counter

__all__ = ["Undelivered"]


class Undelivered:
    """What a process does with messages that can't be delivered.

    Parameters
    ----------
    endpoint : Endpoint
    letters : DeadLetters
    route : callable
        Agent's id -> its worker's queue, negative when its mailbox is full; raises `AgentGone`.
    replies : Replies
    say : callable
        Gets the event `message.dead_lettered`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        letters: DeadLetters,
        route: Callable[[int], int],
        replies: Replies,
        say: Callable[[str, Any], object],
    ) -> None:
        self._endpoint = endpoint
        self._metrics = endpoint.metrics
        self._letters = letters
        self._route = route
        self._replies = replies
        self._on_event = say

    def bury(self, message: Message, reason: Reason) -> None:
        """Keep a message as a dead letter; its asker gets an error."""
        # A publication's copy for one process was never counted as sent: it has no id.
        self._metrics.add(Counter.DEAD_LETTERED, int(message.correlation != 0))
        if reason == Reason.EXPIRED:
            self._metrics.add(Counter.OVERDUE)
        if message.reply_queue:
            self._replies.error(message, told_to_asker(message, reason))
        self._letters.put(message, reason)
        self._on_event(
            "message.dead_lettered",
            {
                "reason": reason.name.lower(),
                "receiver": message.receiver,
                "id": message.correlation,
            },
        )

    def resend(self, letter: DeadLetter) -> bool:
        """Send a letter again, and take it out: whether it was accepted."""
        message = self._letters.pick(letter.id)
        if message is None:
            raise EntryMissing(
                f"letter {letter.id:#x} is no dead letter any more: it was taken, sent again or "
                "pushed out by newer ones"
            )
        sent = False
        try:
            sent = self._post_again(sealed_in(message))
        finally:
            if sent:
                message.release()
            else:
                self._letters.put_back(message)
        return sent

    def _queue_of(self, name: str) -> int | None:
        queues = self._endpoint.queues
        if name.startswith(GROUPS) and not name.startswith(PRIVATE):
            return queues.open(name)  # deleted for want of members, who may come yet
        return queues.find(name) if name else None

    def _post_again(self, sealed: Sealed) -> bool:
        if sealed.receiver:
            queue: int | None = self._route(sealed.receiver)
        else:
            queue = self._queue_of(sealed.queue)
        if queue is None:
            raise EntryMissing(f"the queue {sealed.queue!r} is gone, and with it who emptied it")
        # As at first: one process's copy of a publication has no id and is not counted as sent.
        counted = sealed.kind != Kind.PUBLISH or sealed.queue.startswith(GROUPS)
        sent = queue >= 0 and self._endpoint.post(
            queue,
            sealed.lane,
            sealed.payload,
            sealed.kind,
            sealed.codec,
            sealed.sender,
            sealed.receiver,
            self._endpoint.correlation() if counted else 0,
            now_ns(),
            trace=sealed.trace,
        )
        self._metrics.add(Counter.SENT, int(counted))
        self._metrics.add(Counter.REFUSED, int(counted and not sent))
        return sent
