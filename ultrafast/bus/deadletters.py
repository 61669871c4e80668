"""Dead letters: accepted messages that could not be delivered, kept with the reason.

Stands on an `Endpoint`: they are a queue of the region like any other, so every process may put
letters there and any may read them.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec

from ultrafast import codec
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import Kind, Reason
from ultrafast.core import Message, Receiver
from ultrafast.core._status import OK
from ultrafast.errors import MessageTooBig

__all__ = ["DeadLetter", "DeadLetters"]

log = logging.getLogger(__name__)

_QUEUE: Final = "dead-letters"
_LANE: Final = 3
# Stands in `extra` of a letter that carries its reason.
_WITH_REASON: Final = 0x4C45


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be delivered, and why.

    Attributes
    ----------
    reason, kind : str
        By the names of `ultrafast.bus.wire.Reason` and `Kind`, in lower case.
    sender, receiver : int
        Agent ids.
    attempts : int
        Deliveries that a death cut short.
    body : object
    """

    reason: str
    kind: str
    sender: int
    receiver: int
    attempts: int
    body: Any


class DeadLetters:
    """The dead-letter queue of a region.

    Parameters
    ----------
    endpoint : Endpoint
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._queue = endpoint.queues.open(_QUEUE)

    def put(self, message: Message, reason: Reason) -> None:
        """Keep a message, and release it here.

        A message too large to carry a reason besides is kept as it is. A full queue loses the
        letter, and says so in the log: somebody must read it.
        """
        letter = [
            int(reason),
            message.kind,
            message.sender,
            message.receiver,
            message.attempt,
            message.codec,
            message.tobytes(),
        ]
        try:
            kept = self._endpoint.post(
                self._queue,
                _LANE,
                msgspec.msgpack.encode(letter),
                int(Kind.DATA),
                extra=_WITH_REASON,
            )
        except MessageTooBig:
            kept = message.forward(self._queue, _LANE) == OK
        if not kept:
            log.error("the dead-letter queue is full: a letter to %#x is lost", message.receiver)
        message.release()

    def take(self, limit: int = 1000) -> list[DeadLetter]:
        """Take letters out, oldest first."""
        letters: list[DeadLetter] = []
        receiver = Receiver(self._endpoint.queues, self._queue)
        while len(letters) < limit:
            batch = receiver.take(min(64, limit - len(letters)))
            if not batch:
                break
            for message in batch:
                letters.append(_opened(message))
                message.release()
        return letters


def _opened(message: Message) -> DeadLetter:
    fields: list[Any] = [
        0,
        message.kind,
        message.sender,
        message.receiver,
        message.attempt,
        message.codec,
        message.payload,
    ]
    if message.extra == _WITH_REASON:
        fields = msgspec.msgpack.decode(message.payload)
    reason, kind, sender, receiver, attempts, number, payload = fields
    return DeadLetter(
        reason=Reason(reason).name.lower(),
        kind=Kind(kind).name.lower(),
        sender=sender,
        receiver=receiver,
        attempts=attempts,
        body=codec.decode(payload, number),
    )
