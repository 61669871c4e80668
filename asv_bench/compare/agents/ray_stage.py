"""Ray's stage. Imported only where ray is installed."""

from __future__ import annotations

import os
import time
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported

import ray

from ..teams import now_ns
from .stage import (
    CHATS_PER_S,
    Crowd,
    Population,
    Stage,
    chatters_of,
    check_alive,
    check_count,
    pss_bytes,
)

__all__ = ["RayStage"]

_OBJECT_STORE_BYTES = 100 << 20  # nothing here puts anything large into it


class _Actor:
    """Answers, counts, leads."""

    def __init__(self) -> None:
        self.counted = 0
        self.chats = 0

    def answer(self, body: int) -> int:
        return body

    def add(self) -> None:
        self.counted += 1

    def how_many(self) -> int:
        counted, self.counted = self.counted, 0
        return counted

    def trips(self, other: Any, turn_s: float) -> list[int]:
        times: list[int] = []
        until = now_ns() + int(turn_s * 1e9)
        while (start := now_ns()) < until:
            ray.get(other.answer.remote(1))
            times.append(now_ns() - start)
        return times

    def count(self, counter: Any, messages: int) -> tuple[int, int]:
        start = now_ns()
        for _ in range(messages):
            counter.add.remote()
        counted = ray.get(counter.how_many.remote())
        return counted, now_ns() - start

    def chat(self, other: Any, until_ns: int) -> int:
        chats = 0
        while now_ns() < until_ns:
            ray.get(other.answer.remote(1))
            chats += 1
            time.sleep(1 / CHATS_PER_S)
        return chats


_Acting: Any = ray.remote(num_cpus=0)(_Actor)


class RayStage(Stage):
    """A cluster of one machine, with what it needs."""

    def __init__(self) -> None:
        # It warns of every few actors there. What fails travels over the parent's connection.
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        os.close(quiet)
        ray.init(
            address="local",  # never one that is running already
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            object_store_memory=_OBJECT_STORE_BYTES,
        )
        self._kept: list[Any] = []

    def spawn(self, agents: int) -> list[int]:
        times, begun = [], []
        for _ in range(agents):
            start = now_ns()
            begun.append(_Acting.remote())
            times.append(now_ns() - start)
        check_alive(_ask_all(begun), agents)
        return times

    def spawn_to_answer(self, agents: int, across: bool, warm: bool) -> list[int]:
        times = []
        for _ in range(agents):
            start = now_ns()
            actor = _Acting.remote()
            ray.get(actor.answer.remote(1))
            times.append(now_ns() - start)
            self._kept.append(actor)
        return times

    def population(self, agents: int) -> Population:
        first = _Acting.remote()
        check_alive(_ask_all([first]), 1)
        before = pss_bytes()
        start = now_ns()
        self._kept = [_Acting.remote() for _ in range(agents)]
        returned = now_ns()
        alive = _ask_all(self._kept)
        answered = now_ns()
        return Population(
            alive=alive,
            returned_ns=returned - start,
            answered_ns=answered - start,
            before_bytes=before,
            held_bytes=pss_bytes(),
        )

    def trips(self, turn_s: float, across: bool, busy: bool) -> list[int]:
        leader, other = _Acting.remote(), _Acting.remote()
        check_alive(_ask_all([leader, other]), 2)
        times: list[int] = ray.get(leader.trips.remote(other, turn_s))
        return times

    def count(self, messages: int, across: bool) -> int:
        leader, counter = _Acting.remote(), _Acting.remote()
        check_alive(_ask_all([leader, counter]), 2)
        counted, passed = ray.get(leader.count.remote(counter, messages))
        check_count(counted, messages)
        return int(passed)

    def crowd(self, agents: int, turn_s: float) -> Crowd:
        crowd = [_Acting.remote() for _ in range(agents)]
        alive = _ask_all(crowd)
        some = chatters_of(agents)
        leader, other = _Acting.remote(), _Acting.remote()
        check_alive(_ask_all([leader, other]), 2)
        idle = ray.get(leader.trips.remote(other, turn_s))
        until = now_ns() + int(turn_s * 1e9)
        asked = [
            each.chat.remote(next_one, until)
            for each, next_one in zip(crowd[:some], crowd[some : 2 * some], strict=True)
        ]
        chatter = ray.get(leader.trips.remote(other, turn_s))
        return Crowd(alive=alive, idle_ns=idle, chatter_ns=chatter, chats=sum(ray.get(asked)))

    def close(self) -> None:
        ray.shutdown()


def _ask_all(actors: list[Any]) -> int:
    return len(set(ray.get([each.answer.remote(number) for number, each in enumerate(actors)])))
