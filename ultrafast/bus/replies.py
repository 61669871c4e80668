"""`Replies`: answers on their way to the process that asked.

Stands on an `Endpoint` and the codec. It does not find out what to answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

from ultrafast import codec
from ultrafast.bus.answers import payload_of
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import REPLY_LANE, Kind
from ultrafast.core import Loan, Message, now_ns
from ultrafast.metric_names import Counter

__all__ = ["Replies"]

log = logging.getLogger(__name__)


class Replies:
    """What a process answers to requests.

    Parameters
    ----------
    endpoint : Endpoint
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._metrics = endpoint.metrics
        self._running: set[asyncio.Task[None]] = set()

    def value(self, message: Message, value: Any) -> None:
        """Answer with a value, when somebody waits for an answer."""
        if message.reply_queue:
            payload, number = codec.encode(value)
            self._answer(message, Kind.REPLY, payload, number)

    def error(self, message: Message, error: BaseException) -> None:
        """Answer with an error, when somebody waits for an answer."""
        if message.reply_queue:
            self._answer(message, Kind.ERROR, payload_of(error), codec.MSGPACK)

    def _answer(self, message: Message, kind: Kind, payload: Any, number: int) -> None:
        queue = message.reply_queue - 1
        head: tuple[Any, ...] = (number, message.receiver, message.sender, message.correlation)
        head += (now_ns(), 0, 0, 0, message.trace)
        if not self._endpoint.post(queue, REPLY_LANE, payload, int(kind), *head):
            # What was given may change before the next attempt, but not what is lent.
            kept = payload if isinstance(payload, Loan) else bytes(payload)
            again = self._endpoint.post_within(5.0, queue, REPLY_LANE, kept, int(kind), *head)
            task = asyncio.ensure_future(self._answer_late(again, message.receiver))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        self._metrics.add(Counter.REPLIES)

    async def _answer_late(self, posting: Awaitable[bool], agent: int) -> None:
        if not await posting:
            self._metrics.add(Counter.DEAD_LETTERED)
            log.error("an answer of agent %#x found its asker's queue full for 5 s", agent)
