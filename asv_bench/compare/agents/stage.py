"""What a contestant of the agents comparison offers: a stage, in a process of its own.

Each turn has a fresh process, so that no contestant inherits what an earlier turn left in memory,
and nobody else's agents are alive meanwhile. A stage may start further processes; all are
descendants of its own.

Stands on the standard library. Measures nothing by itself but memory.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, TypeVar

import msgspec
import uvloop

__all__ = [
    "CHATS_PER_S",
    "LoopStage",
    "Contestant",
    "Crowd",
    "Population",
    "Stage",
    "chatters_of",
    "check_alive",
    "check_count",
    "descendants",
    "imported",
    "installed",
    "pss_bytes",
    "why_missing",
]

CHATS_PER_S = 10
"""Round trips that each chattering agent begins in a second, at most."""

T = TypeVar("T")


class Population(msgspec.Struct, frozen=True, kw_only=True):
    """Many agents begun at once.

    Parameters
    ----------
    alive : int
        That answered, each asked itself.
    returned_ns, answered_ns : int
        From the call until it returned, and until each had answered.
    before_bytes, held_bytes : int
        Proportional set size of all processes of the stage, before and when each has answered.
    """

    alive: int
    returned_ns: int
    answered_ns: int
    before_bytes: int
    held_bytes: int


class Crowd(msgspec.Struct, frozen=True, kw_only=True):
    """Round trips of a pair with many others alive.

    Parameters
    ----------
    alive : int
        The others that answered, each asked itself.
    idle_ns, chatter_ns : list of int
        Times of round trips while nobody else had a message, and while some had.
    chats : int
        Round trips that the others made meanwhile.
    """

    alive: int
    idle_ns: list[int]
    chatter_ns: list[int]
    chats: int


class Stage:
    """A contestant at work. It does what its `Contestant.does` names."""

    def spawn(self, agents: int) -> list[int]:
        """Begin so many, one after the other: each one's time until its id is there."""
        raise NotImplementedError

    def spawn_to_answer(self, agents: int, across: bool, warm: bool) -> list[int]:
        """Begin so many, one after the other, each asked at once: the time to each first answer.

        `across`: those that answered from another process than the asker's; else those from the
        same. `warm`: out of a pool, where there are pools.
        """
        raise NotImplementedError

    def population(self, agents: int) -> Population:
        """Begin so many at once, and ask each."""
        raise NotImplementedError

    def trips(self, turn_s: float, across: bool, busy: bool) -> list[int]:
        """One agent asks another for so long: each round trip's time.

        `busy`: in both processes other agents ask each other without a pause.
        """
        raise NotImplementedError

    def count(self, messages: int, across: bool) -> int:
        """One agent sends so many to another, which counts: the time until it has said how many."""
        raise NotImplementedError

    def crowd(self, agents: int, turn_s: float) -> Crowd:
        """Round trips of a pair beside so many others, idle and then chattering."""
        raise NotImplementedError

    def close(self) -> None:
        """Let everything go."""


class LoopStage(Stage):
    """A stage whose work is coroutines on one event loop."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it to its end on the stage's loop."""
        return self._runner.run(coroutine)

    def close(self) -> None:
        self._runner.close()


class Contestant(ABC):
    """One way to have agents. Never made: its class is all there is.

    Attributes
    ----------
    name, how : str
        Its name, and what it does.
    ours : bool
        Whether the others are compared with it.
    does : frozenset of str
        Keys of the scenarios that it takes part in.
    most : dict of str to int
        Scenario -> how many agents it can have there; without an entry, as many as asked for.
    """

    name: ClassVar[str]
    ours: ClassVar[bool] = False
    how: ClassVar[str]
    does: ClassVar[frozenset[str]]
    most: ClassVar[dict[str, int]] = {}

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """Why it can't take part, or None."""

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Of what it stands on."""

    @staticmethod
    @abstractmethod
    def open(agents: int) -> Stage:
        """A stage for so many agents, in this process."""


# --- memory


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and those that they did."""
    found = []
    for folder in Path(f"/proc/{pid}/task").glob("*"):
        try:
            children = [int(word) for word in (folder / "children").read_text().split()]
        except OSError:
            continue  # that thread or process has ended
        for child in children:
            found += [child, *descendants(child)]
    return found


def pss_bytes() -> int:
    """Proportional set size of this process and its descendants."""
    total = 0
    for pid in [os.getpid(), *descendants(os.getpid())]:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return total


# --- helpers of the stages


def chatters_of(agents: int) -> int:
    """One in a hundred, in pairs; at least one pair."""
    return max(2, agents // 200 * 2)


def check_alive(answered: int, agents: int) -> None:
    """Refuse a figure for agents that are not all there."""
    if answered != agents:
        raise RuntimeError(f"{agents} agents were begun, and {answered} answered")


def check_count(counted: int, sent: int) -> None:
    """Refuse a figure for messages that were not all handled."""
    if counted != sent:
        raise RuntimeError(f"{sent} messages were sent, and {counted} counted")


def imported(module: str) -> ModuleType:
    """A module that need not be installed. Typed loosely: few of them are typed."""
    return importlib.import_module(module)


def why_missing(module: str) -> str | None:
    """Why a module can't be imported, or None."""
    try:
        imported(module)
    except ImportError as error:
        return str(error)
    return None


def installed(package: str) -> str:
    """The package and its version."""
    return f"{package} {version(package)}"
