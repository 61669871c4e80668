"""pykka: an actor is a thread with a queue."""

from __future__ import annotations

import threading
import time
from typing import Any

from ..teams import now_ns
from .stage import (
    CHATS_PER_S,
    Contestant,
    Crowd,
    Population,
    Stage,
    chatters_of,
    check_alive,
    check_count,
    imported,
    installed,
    pss_bytes,
    why_missing,
)

__all__ = ["Pykka"]


def _types() -> tuple[Any, Any]:
    """The two classes of actors; pykka need not be installed."""
    pykka = imported("pykka")

    class Answering(pykka.ThreadingActor):  # type: ignore[misc,name-defined]  # of a module that mypy can't see
        def __init__(self) -> None:
            super().__init__()
            self.counted = 0

        def on_receive(self, message: Any) -> Any:
            if message == "add":
                self.counted += 1
                return None
            return self.counted if message == "counted" else message

    class Leading(pykka.ThreadingActor):  # type: ignore[misc,name-defined]  # of a module that mypy can't see
        def on_receive(self, message: Any) -> Any:
            do, *arguments = message
            return do(*arguments)

    return Answering, Leading


def _trips(other: Any, turn_s: float) -> list[int]:
    ask, times = other.ask, []
    until = now_ns() + int(turn_s * 1e9)
    while (start := now_ns()) < until:
        ask(1)
        times.append(now_ns() - start)
    return times


def _count(counter: Any, messages: int) -> int:
    tell = counter.tell
    start = now_ns()
    for _ in range(messages):
        tell("add")
    counted = counter.ask("counted")
    passed = now_ns() - start
    check_count(counted, messages)
    return passed


def _chat(other: Any, over: threading.Event) -> int:
    chats = 0
    while not over.wait(1 / CHATS_PER_S):
        other.ask(1)
        chats += 1
    return chats


class _ThreadStage(Stage):
    def __init__(self) -> None:
        self._answering, self._leading = _types()

    def spawn(self, agents: int) -> list[int]:
        times, begun = [], []
        for _ in range(agents):
            start = now_ns()
            begun.append(self._answering.start())
            times.append(now_ns() - start)
        check_alive(_ask_all(begun), agents)
        _end(begun)
        return times

    def spawn_to_answer(self, agents: int, across: bool, warm: bool) -> list[int]:
        times, begun = [], []
        for _ in range(agents):
            start = now_ns()
            actor = self._answering.start()
            actor.ask(1)
            times.append(now_ns() - start)
            begun.append(actor)
        _end(begun)
        return times

    def population(self, agents: int) -> Population:
        before = pss_bytes()
        start = now_ns()
        begun = [self._answering.start() for _ in range(agents)]
        returned = now_ns()
        alive = _ask_all(begun)
        answered = now_ns()
        found = Population(
            alive=alive,
            returned_ns=returned - start,
            answered_ns=answered - start,
            before_bytes=before,
            held_bytes=pss_bytes(),
        )
        _end(begun)
        return found

    def trips(self, turn_s: float, across: bool, busy: bool) -> list[int]:
        leader, other = self._leading.start(), self._answering.start()
        times: list[int] = leader.ask((_trips, other, turn_s))
        _end([leader, other])
        return times

    def count(self, messages: int, across: bool) -> int:
        leader, counter = self._leading.start(), self._answering.start()
        passed: int = leader.ask((_count, counter, messages))
        _end([leader, counter])
        return passed

    def crowd(self, agents: int, turn_s: float) -> Crowd:
        some = chatters_of(agents)
        crowd = [self._answering.start() for _ in range(agents - some)]
        chatters = [self._leading.start() for _ in range(some)]
        alive = _ask_all(crowd) + sum(each.ask((int,)) == 0 for each in chatters)
        leader, other = self._leading.start(), self._answering.start()
        idle = leader.ask((_trips, other, turn_s))
        over = threading.Event()
        asked = [each.ask((_chat, crowd[n], over), block=False) for n, each in enumerate(chatters)]
        time.sleep(1 / CHATS_PER_S)
        chatter = leader.ask((_trips, other, turn_s))
        over.set()
        chats = sum(each.get() for each in asked)
        _end([*crowd, *chatters, leader, other])
        return Crowd(alive=alive, idle_ns=idle, chatter_ns=chatter, chats=chats)


def _ask_all(actors: list[Any]) -> int:
    asked = [actor.ask(number, block=False) for number, actor in enumerate(actors)]
    return len({each.get() for each in asked})


def _end(actors: list[Any]) -> None:
    for each in actors:
        each.stop(block=False)


class Pykka(Contestant):
    """pykka's `ThreadingActor`."""

    name = "pykka"
    how = "a ThreadingActor each; ask and tell; a thousand at most, since each is a thread"
    does = frozenset(
        {
            "spawn",
            "spawn-to-answer",
            "spawn-to-answer-cold",
            "population",
            "round-trip",
            "counting",
            "crowd",
        }
    )
    most = dict.fromkeys(
        ("spawn", "spawn-to-answer", "spawn-to-answer-cold", "population", "crowd"), 1_000
    )

    @classmethod
    def missing(cls) -> str | None:
        return why_missing("pykka")

    @classmethod
    def version(cls) -> str:
        return installed("pykka")

    @staticmethod
    def open(agents: int) -> Stage:
        return _ThreadStage()
