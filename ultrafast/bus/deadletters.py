"""Dead letters: accepted messages that could not be delivered, kept with the reason.

Stands on an `Outpost`: they are a queue of the region like any other, so every process may put
letters there and any may read them. Reading takes each letter and puts it back behind the others,
so that a reader who dies in between loses none. It does not send letters again: the bus does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final

import msgspec

from ultrafast import codec
from ultrafast.bus import tracing
from ultrafast.bus.outpost import Outpost, copy_of
from ultrafast.bus.wire import Kind, Reason
from ultrafast.bus.workqueue import NAMED
from ultrafast.core import Message, Receiver
from ultrafast.core._status import OK
from ultrafast.errors import DecodeError, MessageTooBig
from ultrafast.metric_names import Counter

__all__ = ["DeadLetter", "DeadLetters", "Sealed", "opened", "sealed_in"]

log = logging.getLogger(__name__)

_QUEUE: Final = "dead-letters"
_LANE: Final = 3
_BATCH: Final = 64
# A letter finds room after the oldest gave way, unless others are quicker so many times.
_TRIES: Final = 8


class Sealed(msgspec.Struct, frozen=True, array_like=True):
    """A message as its letter carries it."""

    reason: int
    kind: int
    sender: int
    receiver: int
    attempt: int
    codec: int
    lane: int
    queue: str
    time_s: float
    payload: bytes
    trace: bytes | None = None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be delivered, and why.

    Attributes
    ----------
    id : int
        Tells it from every other letter.
    reason, kind : str
        By the names of `ultrafast.bus.wire.Reason` and `Kind`, in lower case.
    sender, receiver : int
        Agent ids; 0 where there is none.
    attempts : int
        Deliveries that a death cut short.
    queue : str
        The named queue, the queue group's or the process's inbox that it was in; nothing for what
        was sent to an agent.
    priority : int
        The lane it was sent in.
    time_s : float
        When it became a letter, by the wall clock; 0 for one too large to carry that.
    body : object
        Of a publication, the subject and the payload. Bytes, where it could not be read.
    trace : bytes, optional
        The trace that it was sent in, as it travels; sent again, it is in that trace.
    """

    id: int
    reason: str
    kind: str
    sender: int
    receiver: int
    attempts: int
    queue: str
    priority: int
    time_s: float
    body: Any
    trace: bytes | None = None

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context that it was sent in; None outside any."""
        return tracing.text_of(self.trace)


class DeadLetters:
    """The dead-letter queue of a region.

    Parameters
    ----------
    endpoint : Outpost
    """

    def __init__(self, endpoint: Outpost) -> None:
        self._endpoint = endpoint
        self._queue = endpoint.queues.open(_QUEUE)
        self._receiver = Receiver(endpoint.queues, self._queue)

    def put(self, message: Message, reason: Reason) -> None:
        """Keep a message, and release it here.

        Of a full queue the oldest letter gives way, which is counted. A message too large to carry
        a reason besides, or one for which the pool has no other block, is kept as it is.
        """
        payload, number = copy_of(message)
        sealed = Sealed(
            int(reason),
            message.kind,
            message.sender,
            message.receiver,
            message.attempt,
            number,
            message.lane,
            # To an agent it goes wherever that lives by then; anything else, to its queue.
            "" if message.receiver else self._endpoint.queues.name(message.queue) or "",
            time.time(),
            payload,
            message.trace,
        )
        try:
            kept = self._post(sealed) or (
                self._is_full() and self._keep(lambda: self._post(sealed))
            )
        except MessageTooBig:
            kept = False
        if not kept:
            kept = self._keep(lambda: self._endpoint.pass_on(message, self._queue, _LANE))
        if not kept:
            self._lost("a message")
        message.release()

    def put_payload(self, payload: bytes, reason: Reason, trace: bytes | None = None) -> None:
        """Keep a publication that a subscription of this process did not take."""
        kind, inbox = int(Kind.PUBLISH), self._endpoint.inbox
        sealed = Sealed(
            int(reason), kind, 0, 0, 0, codec.PUBLICATION, 2, inbox, time.time(), payload, trace
        )
        try:
            kept = self._keep(lambda: self._post(sealed))
        except MessageTooBig:
            kept = False
        if not kept:
            self._lost(f"a publication of {len(payload):,} bytes")

    def _post(self, sealed: Sealed) -> bool:
        return self._endpoint.post(
            self._queue,
            _LANE,
            msgspec.msgpack.encode(sealed),
            int(Kind.LETTER),
            correlation=self._endpoint.correlation(),
        )

    def read(self, limit: int, reason: str | None = None) -> list[DeadLetter]:
        """The letters, oldest first, which stay where they are."""
        letters: list[DeadLetter] = []

        def look(message: Message) -> bool:
            letter = opened(message)
            if reason is None or letter.reason == reason:
                letters.append(letter)
            return False

        self._walk(look)
        letters.sort(key=lambda letter: letter.time_s)
        return letters[:limit]

    def take(self, limit: int) -> list[DeadLetter]:
        """Take letters out, oldest first."""
        letters: list[DeadLetter] = []
        while len(letters) < limit and (batch := self._batch(limit - len(letters))):
            for message in batch:
                letters.append(opened(message))
                message.release()
        return letters

    def pick(self, letter_id: int) -> Message | None:
        """Take one letter out, which the caller releases or puts back; None when it is gone."""
        found: list[Message] = []

        def look(message: Message) -> bool:
            if message.correlation != letter_id or found:
                return False
            found.append(message)
            return True

        self._walk(look)
        return found[0] if found else None

    def put_back(self, message: Message) -> None:
        """What `pick` gave stays a letter."""
        if not self._keep(lambda: message.forward(self._queue, _LANE) == OK):
            self._lost("a letter")
        message.release()

    def _walk(self, take: Callable[[Message], bool]) -> None:
        """Look at each letter once; those for which `take` answers true are the caller's."""
        left = self._endpoint.queues.length(self._queue)
        left += _BATCH if self._receiver.has_orphans else 0
        while left > 0 and (batch := self._batch(left)):
            left -= len(batch)
            for message in batch:
                if not take(message):
                    self.put_back(message)

    def _batch(self, most: int) -> list[Message]:
        """The next letters; those that a dead reader had come first."""
        most = min(_BATCH, most)
        if self._receiver.has_orphans and (batch := self._receiver.adopt(most)):
            return batch
        return self._receiver.take(most)

    def _is_full(self) -> bool:
        return self._endpoint.queues.length(self._queue, _LANE) >= self._endpoint.queues.capacity

    def _keep(self, put: Callable[[], bool]) -> bool:
        """Put, and where it is refused let the oldest letters give way: whether it was put."""
        for _ in range(_TRIES):
            if put():
                return True
            for oldest in self._receiver.take(1):
                oldest.release()
                self._endpoint.metrics.add(Counter.LETTERS_LOST)
        return False

    def _lost(self, what: str) -> None:
        self._endpoint.metrics.add(Counter.LETTERS_LOST)
        log.error("%s has no room among the dead letters, even in the oldest one's place", what)


def sealed_in(message: Message) -> Sealed:
    """What a letter carries; of a message too large for that, or one that is no letter, itself."""
    if message.kind == Kind.LETTER:
        try:
            return msgspec.msgpack.decode(message.payload, type=Sealed)
        except msgspec.MsgspecError as error:
            log.warning("a dead letter can't be read: %s", error)
    return Sealed(
        int(Reason.UNKNOWN),
        message.kind,
        message.sender,
        message.receiver,
        message.attempt,
        message.codec,
        message.lane,
        "",
        0.0,
        message.tobytes(),
        message.trace,
    )


def opened(message: Message) -> DeadLetter:
    """A letter as its readers see it."""
    sealed = sealed_in(message)
    try:
        body = codec.decode(sealed.payload, sealed.codec)
    except DecodeError:
        body = sealed.payload
    return DeadLetter(
        id=message.correlation,
        reason=_name(Reason, sealed.reason),
        kind=_name(Kind, sealed.kind),
        sender=sealed.sender,
        receiver=sealed.receiver,
        attempts=sealed.attempt,
        queue=sealed.queue.removeprefix(NAMED),
        priority=sealed.lane,
        time_s=sealed.time_s,
        body=body,
        trace=sealed.trace,
    )


def _name(kind: type[IntEnum], number: int) -> str:
    """What a number stands for; the number itself, when it is none of ours."""
    try:
        return kind(number).name.lower()
    except ValueError:
        return str(number)
