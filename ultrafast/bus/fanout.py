"""Fan-out: one publication to many queues, copied when it is small and shared when it is not.

Stands on the doors and an `Endpoint`. It is told where a publication goes and does not match
subjects.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from ultrafast import codec
from ultrafast.bus import tracing
from ultrafast.bus.directory import Interest
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import Kind
from ultrafast.core import Loan, Message, share
from ultrafast.core._status import OK
from ultrafast.errors import DecodeError

__all__ = ["SHARED_BYTES", "Target", "copy_to_all", "published_in", "share_among", "shares"]

# A payload above it is shared: a reference costs about what copying so many bytes does.
SHARED_BYTES: Final = 512
_REFERENCE: Final = 4  # UF_MESSAGE_REFERENCE

_Head = tuple[int, int, int, int]  # lane, codec, intended send time, time to live


class Target:
    """Where one copy of a publication goes: the first of some queues that takes it.

    Parameters
    ----------
    queues : list of int
    correlation : int
        0 for a copy that is not counted as a message of its own.
    limits : dict of int to int
        Queue -> when so many wait there it takes no more.
    openings : dict of int to int
        Queue -> its opening, where that is known.
    """

    __slots__ = ("correlation", "limits", "openings", "queues")

    def __init__(
        self,
        queues: list[int],
        correlation: int,
        limits: dict[int, int] | None = None,
        openings: dict[int, int] | None = None,
    ) -> None:
        self.queues = queues
        self.correlation = correlation
        self.limits = limits or {}
        self.openings = openings or {}

    @classmethod
    def of_group(cls, endpoint: Endpoint, choices: list[Interest]) -> Target:
        """A queue group's, with its members' queues in the order of choice."""
        limits = {each.queue: each.limit for each in choices if each.limit}
        openings = {each.queue: each.opening for each in choices}
        return cls([each.queue for each in choices], endpoint.correlation(), limits, openings)

    def open_to(self, endpoint: Endpoint) -> list[int]:
        """Its queues that have not met their limit."""
        if not self.limits:
            return self.queues
        length = endpoint.queues.length
        return [q for q in self.queues if q not in self.limits or length(q) < self.limits[q]]


def shares(payload: Any, receivers: int) -> bool:
    """Whether a payload is shared among so many receivers; a loan is, even with one."""
    return receivers > 0 and (type(payload) is Loan or len(payload) > SHARED_BYTES)


def published_in(message: Message) -> tuple[str, memoryview, int]:
    """A publication's subject, its encoded body in place, and the codec of that.

    Raises
    ------
    DecodeError
        It is none.
    """
    if message.flags & _REFERENCE:
        try:
            return message.note.decode(), message.payload, message.codec
        except UnicodeDecodeError as error:
            raise DecodeError(f"a publication's subject is no UTF-8: {error}") from None
    if message.codec != codec.PUBLICATION:
        raise DecodeError(f"a message of codec {message.codec} is no publication")
    subject, body, number = codec.unpublished(message.payload)
    # Small: a copy costs less than a block that is kept.
    return subject, memoryview(bytes(body)), number


async def copy_to_all(
    endpoint: Endpoint, targets: list[Target], payload: bytes, head: _Head, timeout_s: float
) -> bool:
    """Put a copy into each target's queue: whether all took it."""
    lane, _, started, ttl_ms = head
    accepted = True
    for target in targets:
        message = (target.queues[0], lane, payload, int(Kind.PUBLISH), codec.PUBLICATION, 0, 0)
        rest = (target.correlation, started, 0, 0, ttl_ms)
        if not endpoint.post(*message, *rest):
            accepted &= await endpoint.post_within(timeout_s, *message, *rest)
    return accepted


async def share_among(
    endpoint: Endpoint,
    targets: list[Target],
    subject: str,
    payload: Any,
    head: _Head,
    timeout_s: float,
) -> list[Target]:
    """Share a payload among the targets; those that did not take it in time."""
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout_s
    pause = 0.0002
    note = subject.encode()
    left = _shared(endpoint, targets, note, payload, head)
    while left and (rest := until - loop.time()) > 0:
        await asyncio.sleep(min(pause, rest))
        pause = min(pause * 2, 0.01)
        without = [target for target, message in left if message is None]
        left = [
            (target, message)
            for target, message in left
            if message is not None and not _forwarded(endpoint, target, message, head[0])
        ]
        if without:
            left += _shared(endpoint, without, note, payload, head)
    for _, message in left:
        if message is not None:
            message.release()
    return [target for target, _ in left]


_Left = list[tuple[Target, Message | None]]


def _shared(
    endpoint: Endpoint, targets: list[Target], note: bytes, payload: Any, head: _Head
) -> _Left:
    lane, number, started, ttl_ms = head
    willing = [(target, queues) for target in targets if (queues := target.open_to(endpoint))]
    first = [
        (queues[0], target.correlation, target.openings.get(queues[0], 0))
        for target, queues in willing
    ]
    left: _Left = [(target, None) for target in targets if not target.open_to(endpoint)]
    refused = share(
        endpoint.queues,
        first,
        lane,
        payload,
        note,
        int(Kind.PUBLISH),
        number,
        0,
        started,
        ttl_ms,
        tracing.current(),
    )
    for place, message in refused:
        target, queues = willing[place]
        if message is None or not _forwarded(endpoint, target, message, lane, queues[1:]):
            left.append((target, message))
    return left


def _forwarded(
    endpoint: Endpoint, target: Target, message: Message, lane: int, queues: list[int] | None = None
) -> bool:
    """Whether one of a target's queues takes what it was refused at first."""
    some = target.open_to(endpoint) if queues is None else queues
    return any(message.forward(queue, lane, target.openings.get(queue, 0)) == OK for queue in some)
