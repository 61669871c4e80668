"""Fan-out: publications to one and to a hundred subscribers; large bodies copied and lent.

Costs of a publication are counted from its call until the last callback has run, in two workers. In
company: the same bodies copied, in the same run. The subscriptions that do not match are there to
show that they cost nothing.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median
from time import perf_counter_ns
from typing import Any

from ultrafast import Agent, UltraFastAgentManager
from ultrafast.bus.topics import TopicMatcher
from ultrafast.core import Queues, Receiver

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


async def _publication_us(subscribers: int, payload_bytes: int) -> float:
    """The median over rounds of what one publication takes until everybody had it."""
    async with system(2) as manager:
        manager.register("hearing", Hearing)
        agents = [await manager.spawn_agent("hearing") for _ in range(2)]
        for number, agent in enumerate(agents):
            share = subscribers // 2 + (subscribers % 2 if number == 0 else 0)
            await manager.request(None, agent, share)
        payload = bytes(payload_bytes)
        took = []
        for turn in range(1, _ROUNDS + 1):
            began = perf_counter_ns()
            for _ in range(_COUNT):
                assert await manager.publish("bench.subject", payload, timeout_s=_WAIT_S)
            await _heard(manager, agents, turn * _COUNT * subscribers)
            took.append((perf_counter_ns() - began) / _COUNT / 1_000)
        return median(took)


class Publishing:
    """One publication to so many subscribers in two workers."""

    params = ([1, 100], [64, 4_096, 65_536])
    param_names = ("subscribers", "payload_bytes")
    unit = "us"
    number = 1
    timeout = 120

    def track_publish_us(self, subscribers: int, payload_bytes: int) -> float:
        return asyncio.run(_publication_us(subscribers, payload_bytes))


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
        self.queues.send(self.receiver.index, 1, self.queues.loan(self.payload_bytes))
        for message in self.receiver.take(1):
            message.payload.release()
            message.release()
