"""Fan-out: publications to one and to a hundred subscribers; large bodies copied and lent.

Costs of a publication are counted from its call until the last callback has run, in two workers. In
company: the same bodies copied, in the same run. The subscriptions that do not match are there to
show that they cost nothing.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from statistics import median
from time import perf_counter_ns
from typing import Any, NamedTuple

from ultrafast import Agent, UltraFastAgentManager
from ultrafast.bus.topics import TopicMatcher
from ultrafast.core import Queues, Receiver

from ._measure import quicker
from ._places import region, system

_WAIT_S = 60.0
_ROUNDS = 5
_COUNT = 200


class Hearing(Agent):
    """Subscribes so many times, and says how many callbacks have run."""

    def on_start(self) -> None:
        self.heard = 0

    def on_message(self, message: Any) -> Any:
        if message.body == "count":
            return self.heard
        for _ in range(message.body):
            self.context.subscribe("bench.subject", self._hear)
        return None

    def _hear(self, publication: Any) -> None:
        self.heard += 1


async def _heard(manager: UltraFastAgentManager, agents: list[int], wanted: int) -> None:
    until = time.monotonic() + _WAIT_S
    while sum([await manager.request(None, each, "count") for each in agents]) < wanted:
        assert time.monotonic() < until, "publications did not arrive"


class _Cost(NamedTuple):
    """Of one publication, in microseconds: until its call returned, and until everybody had it."""

    call: float
    heard: float


async def _publications(payload_bytes: int) -> dict[int, _Cost]:
    """By the number of subscribers: the medians of turns."""
    counts = Publishing.params[0]
    took: dict[int, list[_Cost]] = {subscribers: [] for subscribers in counts}
    async with AsyncExitStack() as stack:
        audiences = {
            subscribers: await _audience(await stack.enter_async_context(system(2)), subscribers)
            for subscribers in counts
        }
        for turn in range(1, quicker(_ROUNDS, 1) + 1):
            for subscribers, (manager, agents) in audiences.items():
                began = perf_counter_ns()
                for _ in range(_COUNT):
                    assert await manager.publish(
                        "bench.subject", bytes(payload_bytes), timeout_s=_WAIT_S
                    )
                called = perf_counter_ns()
                await _heard(manager, agents, turn * _COUNT * subscribers)
                ended = perf_counter_ns()
                per = _COUNT * 1_000
                took[subscribers].append(_Cost((called - began) / per, (ended - began) / per))
    return {
        subscribers: _Cost(*(median(column) for column in zip(*those, strict=True)))
        for subscribers, those in took.items()
    }


async def _audience(
    manager: UltraFastAgentManager, subscribers: int
) -> tuple[UltraFastAgentManager, list[int]]:
    """Two agents, in two workers, that share so many subscriptions."""
    manager.register("hearing", Hearing)
    agents = [await manager.spawn_agent("hearing") for _ in range(2)]
    for number, agent in enumerate(agents):
        await manager.request(None, agent, (subscribers + 1 - number) // 2)
    return manager, agents


class Publishing:
    """One publication to so many subscribers in two workers; both numbers of them in turns.

    `call` is until its call returned, `heard` until everybody had it.
    """

    params = ((1, 100), (64, 4_096, 65_536), _Cost._fields)
    param_names = ("subscribers", "payload_bytes", "until")
    timeout = 120

    def setup_cache(self) -> dict[int, dict[int, _Cost]]:
        return {size: asyncio.run(_publications(size)) for size in self.params[1]}

    setup_cache.timeout = 300  # type: ignore[attr-defined]  # asv reads it off the function

    def track_publish(
        self, found: dict[int, dict[int, _Cost]], subscribers: int, payload_bytes: int, until: str
    ) -> float:
        return float(getattr(found[payload_bytes][subscribers], until))

    track_publish.unit = "us"  # type: ignore[attr-defined]  # the same

    def track_ratio_to_one(
        self, found: dict[int, dict[int, _Cost]], subscribers: int, payload_bytes: int, until: str
    ) -> float:
        costs = found[payload_bytes]
        return float(getattr(costs[subscribers], until) / getattr(costs[1], until))

    track_ratio_to_one.unit = "x publish to one"  # type: ignore[attr-defined]  # the same


class Matching:
    """Finding ten subscriptions among so many, of a subject met before and of a new one."""

    params = ([100, 100_000],)
    param_names = ("others",)

    def setup(self, others: int) -> None:
        self.matcher: TopicMatcher[int] = TopicMatcher(cache_entries=0)
        for number in range(others):
            self.matcher.add(f"other{number % 97}.*.city{number}.>", number)
        for number in range(10):
            self.matcher.add("shop.berlin.*.sold", -1 - number)

    def time_match_of_a_new_subject(self, others: int) -> None:
        assert len(self.matcher.match("shop.berlin.till.sold")) == 10


class Bodies:
    """64 KiB through a queue and back within one process: copied twice, or lent."""

    params = ([4_096, 65_536],)
    param_names = ("payload_bytes",)

    def setup(self, payload_bytes: int) -> None:
        self.place = region()
        self.queues = Queues(self.place.__enter__())
        self.receiver = Receiver(self.queues, self.queues.open("bench"))
        self.payload = bytes(payload_bytes)
        self.payload_bytes = payload_bytes

    def teardown(self, payload_bytes: int) -> None:
        self.place.__exit__(None, None, None)

    def time_copied(self, payload_bytes: int) -> None:
        self.queues.send(self.receiver.index, 1, self.payload)
        for message in self.receiver.take(1):
            message.tobytes()
            message.release()

    def time_lent(self, payload_bytes: int) -> None:
        loan = self.queues.loan(self.payload_bytes)
        assert loan is not None
        self.queues.send(self.receiver.index, 1, loan)
        for message in self.receiver.take(1):
            message.payload.release()
            message.release()
