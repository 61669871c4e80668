"""Asking many agents for a sign of life: one control message for a chunk of a worker's agents.

Stands on the endpoint, the agent records and the bus. An agent that is free answers where it sits;
one that is busy is asked by a message of its own, which waits in its mailbox behind what it has.
Knows nothing of what agents do.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from ultrafast.bus.bus import UltraFastCommunicationBus
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import CONTROL_LANE, REPLY_LANE, Kind, Operation
from ultrafast.core import Message, now_ns
from ultrafast.errors import UltrafastError

__all__ = ["answer_roll", "call_roll"]

# Agents asked by one message: a worker is at it for a fraction of a millisecond, or for some, where
# they have to be built first.
_CHUNK: Final = 512
# Messages of one roll call under way to a worker: one is answered while the next is on its way.
_AHEAD: Final = 2
# Requests to busy agents under way at once.
_BUSY: Final = 512


async def call_roll(
    endpoint: Endpoint,
    bus: UltraFastCommunicationBus,
    ids: Iterable[int] | None,
    timeout_s: float,
) -> int:
    """Ask agents for a sign of life.

    Parameters
    ----------
    endpoint, bus
        This process's.
    ids : iterable of int, optional
        All that are starting or active, when not given.
    timeout_s : float

    Returns
    -------
    int
        How many answered in time.
    """
    agents = endpoint.agents
    until_ns = now_ns() + int(max(0.0, timeout_s) * 1e9)
    busy: list[int] = []

    async def ask_chunks(worker: int, chunks: Iterator[array[int]]) -> int:
        answered = 0
        for chunk in chunks:
            try:
                answer = await endpoint.ask(
                    worker,
                    CONTROL_LANE,
                    chunk,
                    Kind.CONTROL,
                    timeout_s=(until_ns - now_ns()) / 1e9,
                    extra=int(Operation.ROLL),
                )
            except (UltrafastError, TimeoutError):
                continue
            count, *others = memoryview(answer.tobytes()).cast("Q")
            answer.release()
            answered += count
            busy.extend(others)
        return answered

    async def ask_each(left: Iterator[int]) -> int:
        answered = 0
        for agent_id in left:
            left_s = (until_ns - now_ns()) / 1e9
            try:
                await bus.request(
                    None, agent_id, None, timeout_s=left_s, kind=Kind.PING, priority="high"
                )
            except (UltrafastError, TimeoutError):
                continue
            answered += 1
        return answered

    asked = []
    for worker, theirs in agents.by_worker(agents.living() if ids is None else ids).items():
        chunks = _chunks(theirs)
        asked += [ask_chunks(worker, chunks) for _ in range(_AHEAD)]
    found = await asyncio.gather(*asked)
    left = iter(busy)
    found += await asyncio.gather(*(ask_each(left) for _ in range(min(_BUSY, len(busy)))))
    return sum(found)


def _chunks(ids: array[int]) -> Iterator[array[int]]:
    for at in range(0, len(ids), _CHUNK):
        yield ids[at : at + _CHUNK]


def answer_roll(endpoint: Endpoint, message: Message, restore: Callable[[int], object]) -> None:
    """A host's side: ask those of its agents that a message names, and say who is busy.

    Parameters
    ----------
    endpoint : Endpoint
    message : Message
        Is released here. Whoever dies with it leaves it to its successor.
    restore : callable
        Hosts the agent with an id, if it is to live here: with a roll call as with a message.
    """
    answer = array("Q", [0])
    with message.payload as payload, payload.cast("Q") as ids:
        answered, others = endpoint.call_roll(ids)
    if others:
        for each in others:
            restore(each)
        again, others = endpoint.call_roll(array("Q", others))
        answered += again
    answer[0] = answered
    answer.extend(others)
    if message.reply_queue:
        head = (int(Kind.REPLY), 0, 0, 0, message.correlation)
        endpoint.post(message.reply_queue - 1, REPLY_LANE, answer, *head)
    message.release()
