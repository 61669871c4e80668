"""What is measured, and how the parent has a contestant measure it once."""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec

from ..figures import EmptySample, latencies_us, percentile, rate_per_s
from ..rounds import Turn, watched
from ..teams import member
from .stage import CHATS_PER_S, Contestant, Crowd, Population, Stage, chatters_of, descendants

__all__ = ["SCENARIOS", "Pace", "Scenario", "agents_in", "take_turn"]

_PAGE_BYTES = 4_096
_COUNT_FIRST = 1_000
_COUNT_MAX = 5_000_000

Found = tuple[dict[str, float], int]


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One block of the table.

    Parameters
    ----------
    key, title : str
        In JSON, and in the table.
    kind : {"spawn", "answer", "population", "trips", "counting", "crowd"}
    agents : int
        How many, where the contestant can have so many.
    across, busy, warm : bool
        As `Stage` has them.
    asked_for : bool
        Measured only where it is asked for by its key.
    """

    key: str
    title: str
    kind: str
    agents: int = 4
    across: bool = False
    busy: bool = False
    warm: bool = False
    asked_for: bool = False

    @property
    def unit(self) -> str:
        """Of its figures."""
        return {"population": "agents", "counting": "per_s"}.get(self.kind, "us")


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How long a turn's timed part is, about; how many agents at most; when it is given up."""

    turn_s: float
    agents_max: int
    limit_s: float


N = 10_000
LARGE = 100_000
MILLION = 1_000_000

SCENARIOS = (
    Scenario(
        key="spawn",
        title="spawn one after the other, until its id is there",
        kind="spawn",
        agents=N,
        warm=True,
    ),
    Scenario(
        key="spawn-to-answer",
        title="spawn to first answer, in the asker's process",
        kind="answer",
        agents=N,
        warm=True,
    ),
    Scenario(
        key="spawn-to-answer-cold",
        title="spawn to first answer, in the asker's process, without a pool",
        kind="answer",
        agents=N,
    ),
    Scenario(
        key="spawn-to-answer-across",
        title="spawn to first answer, from another process",
        kind="answer",
        agents=N,
        across=True,
        warm=True,
    ),
    Scenario(key="population", title="spawn many at once", kind="population", agents=N),
    Scenario(key="population-large", title="spawn many at once", kind="population", agents=LARGE),
    Scenario(
        key="population-million",
        title="spawn many at once",
        kind="population",
        agents=MILLION,
        asked_for=True,
    ),
    Scenario(key="round-trip", title="round trip between two agents of a process", kind="trips"),
    Scenario(
        key="round-trip-across",
        title="round trip between agents of two processes",
        kind="trips",
        across=True,
    ),
    Scenario(
        key="round-trip-across-busy",
        title="round trip between agents of two processes, both busy",
        kind="trips",
        across=True,
        busy=True,
    ),
    Scenario(key="counting", title="counting: messages from an agent to another", kind="counting"),
    Scenario(
        key="counting-across",
        title="counting: messages from an agent to another's process",
        kind="counting",
        across=True,
    ),
    Scenario(
        key="crowd",
        title="round trip in a crowd, 1 % of it chattering",
        kind="crowd",
        agents=N,
    ),
)


def agents_in(scenario: Scenario, contestant: type[Contestant], pace: Pace) -> int:
    """How many agents a contestant has in a scenario."""
    return min(scenario.agents, pace.agents_max, contestant.most.get(scenario.key, scenario.agents))


def take_turn(contestant: type[Contestant], scenario: Scenario, pace: Pace) -> Turn:
    """Measure once, in a fresh process.

    Raises
    ------
    TeamFailed, EmptySample
    """
    agents = agents_in(scenario, contestant, pace)
    with member(contestant.name, contestant.open, agents) as stage:
        stage.ready()

        def ask(method: str, *arguments: Any) -> Any:
            stage.begin(play, method, arguments, timeout_s=pace.limit_s)
            return stage.answer(time.monotonic() + pace.limit_s)

        return watched(
            lambda: [os.getpid(), *descendants(os.getpid())],
            lambda: _MEASURES[scenario.kind](ask, scenario, agents, pace),
        )


def play(stage: Stage, method: str, arguments: tuple[Any, ...]) -> Any:
    """What the stage's process is told to do."""
    return getattr(stage, method)(*arguments)


def _spawn(ask: Any, scenario: Scenario, agents: int, pace: Pace) -> Found:
    times = ask("spawn", agents)
    return latencies_us(times), len(times)


def _answer(ask: Any, scenario: Scenario, agents: int, pace: Pace) -> Found:
    times = ask("spawn_to_answer", agents, scenario.across, scenario.warm)
    return latencies_us(times), len(times)


def _population(ask: Any, scenario: Scenario, agents: int, pace: Pace) -> Found:
    found: Population = ask("population", agents)
    if found.alive != agents:
        raise EmptySample(f"{agents} agents were begun, and {found.alive} answered")
    figures = {
        **rate_per_s(agents, found.returned_ns),
        "answered_per_s": rate_per_s(agents, found.answered_ns)["per_s"],
        # What a few agents add is less than what comes and goes beside them: a page at least.
        "bytes": max(found.held_bytes - found.before_bytes, _PAGE_BYTES) / agents,
        "answered_s": found.answered_ns / 1e9,
        "held_bytes": float(found.held_bytes),
    }
    return figures, agents


def _trips(ask: Any, scenario: Scenario, agents: int, pace: Pace) -> Found:
    ask("trips", pace.turn_s / 5, scenario.across, scenario.busy)
    times = ask("trips", pace.turn_s, scenario.across, scenario.busy)
    return latencies_us(times), len(times)


def _counting(ask: Any, scenario: Scenario, agents: int, pace: Pace) -> Found:
    count = _COUNT_FIRST
    for part in (0.1, 1.0):
        per_s = rate_per_s(count, ask("count", count, scenario.across))["per_s"]
        count = min(_COUNT_MAX, max(_COUNT_FIRST, int(per_s * pace.turn_s * part)))
    return rate_per_s(count, ask("count", count, scenario.across)), count


def _crowd(ask: Any, scenario: Scenario, agents: int, pace: Pace) -> Found:
    found: Crowd = ask("crowd", agents, pace.turn_s)
    if found.alive != agents:
        raise EmptySample(f"{agents} agents were begun, and {found.alive} answered")
    # Chatter that falls far behind its pace is another scenario than the one that is named.
    due = chatters_of(agents) * CHATS_PER_S * pace.turn_s
    if found.chats < due / 4:
        raise EmptySample(f"{found.chats} round trips of chatter where {due:.0f} were due")
    idle = percentile(sorted(found.idle_ns), 0.95)
    figures = latencies_us(found.chatter_ns)
    figures["over_idle"] = percentile(sorted(found.chatter_ns), 0.95) / idle
    return figures, len(found.chatter_ns)


_MEASURES = {
    "spawn": _spawn,
    "answer": _answer,
    "population": _population,
    "trips": _trips,
    "counting": _counting,
    "crowd": _crowd,
}
