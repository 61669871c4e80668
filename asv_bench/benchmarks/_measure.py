"""How times are taken: rivals run in turns in one process, and the medians of turns compared.

`run_rivals` is for what takes nanoseconds to microseconds: each rival's statement is compiled into
a loop of its own, so that no rival warms or spoils the interpreter's caches of another. `summary`
is for what is slow enough to be timed one by one. `reports` makes asv's `track_*` functions.
asv's own `time_*` run a benchmark's setup before each call, and so time the first call in a new
region: hence none here.

Stands on the standard library, because asv imports it often; knows nothing of what is measured.
"""

from __future__ import annotations

import gc
import math
import os
import random
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from statistics import fmean, median
from time import perf_counter_ns
from typing import Any, NamedTuple, TypeVar

__all__ = ["QUICK", "Rival", "Times", "marked", "quicker", "reports", "run_rivals", "summary"]

_F = TypeVar("_F", bound=Callable[..., Any])

# Set by `tools/bench --quick`: every benchmark runs, none takes the time to be exact.
QUICK = os.environ.get("ULTRAFAST_BENCH_QUICK") == "1"

_TURN_NS = 100_000  # how long a rival's turn is, about
_TURNS = 400
_SINGLES = 20_000
_SINGLES_IN_A_TURN = 100
_SINGLES_LIMIT_NS = 400_000_000  # of all singles of one rival

# Their own variables begin with an underscore, which a rival's names must not.
_LOOPS = """
def burst(_count, _clock):
{locals}
    _numbers = _repeat(None, _count)
    _start = _clock()
    for _ in _numbers:
{statement}
    return _clock() - _start

def singles(_out, _clock):
{locals}
    for _at in range(len(_out)):
        _start = _clock()
{statement}
        _out[_at] = _clock() - _start
"""


def marked(**marks: Any) -> Callable[[_F], _F]:
    """Give a function what asv looks for on it: its `unit`, the `timeout` of a `setup_cache`."""

    def mark(function: _F) -> _F:
        vars(function).update(marks)
        return function

    return mark


def quicker(full: int, quick: int) -> int:
    """`full`, or `quick` when the benchmarks are only tried."""
    return quick if QUICK else full


class Rival(NamedTuple):
    """One of those that are compared.

    Attributes
    ----------
    statement : str
        What is timed, in the words of `names`.
    names : mapping
        Its variables; they become locals of the loop.
    per : int
        Operations in one run of the statement; times are divided by it.
    before : callable, optional
        Called, untimed, before each of the rival's turns.
    runs : int, optional
        In a turn, where `before` prepares for so many; chosen by trying when not given.
    """

    statement: str
    names: Mapping[str, Any]
    per: int = 1
    before: Callable[[], object] | None = None
    runs: int | None = None


class Times(NamedTuple):
    """What is kept of a rival's times, in nanoseconds an operation.

    Attributes
    ----------
    mean, p50, p99, largest : float
    samples : int
        That `p99` and `largest` were read off.
    ratio : float
        `p50` over the floor's; NaN where there was no floor.
    """

    mean: float
    p50: float
    p99: float
    largest: float
    samples: int
    ratio: float = float("nan")


class _Entrant:
    """A rival with its loops and its times."""

    def __init__(self, rival: Rival) -> None:
        self.rival = rival
        space: dict[str, Any] = {"_repeat": repeat, "_given": dict(rival.names)}
        lines = [f"    {name} = _given[{name!r}]" for name in rival.names]
        source = _LOOPS.format(
            locals="\n".join(lines), statement=textwrap.indent(rival.statement, " " * 8)
        )
        exec(compile(source, f"<{rival.statement}>", "exec"), space)
        self._burst: Callable[[int, Any], int] = space["burst"]
        self._singles: Callable[[Any, Any], None] = space["singles"]
        self.count = rival.runs or self._fitting_count()
        self.burst_times: list[float] = []
        self.single_times: list[int] = []
        budget = int(_SINGLES_LIMIT_NS / max(1.0, self.turn()))
        self.singles_wanted = max(200, min(quicker(_SINGLES, 500), budget))

    def _fitting_count(self) -> int:
        count = 1
        while self._run(count) < _TURN_NS // 2 and count < 1 << 20:
            count *= 2
        return count

    def _run(self, count: int) -> int:
        if self.rival.before is not None:
            self.rival.before()
        return self._burst(count, perf_counter_ns)

    def turn(self) -> float:
        """Nanoseconds for one run of the statement, its part of the loop included."""
        if self.rival.before is None:
            # Untimed: caches forget the neighbour, and a thread that it left running comes to rest.
            self._run(self.count // 8 + 1)
        return self._run(self.count) / self.count

    def single_turn(self) -> None:
        if len(self.single_times) >= self.singles_wanted:
            return
        if self.rival.before is not None:
            self.rival.before()
        out = [0] * min(_SINGLES_IN_A_TURN, self.rival.runs or _SINGLES_IN_A_TURN)
        self._singles(out, perf_counter_ns)
        self.single_times += out


def run_rivals(
    rivals: Mapping[tuple[Any, ...], Rival], *, floor: Rival | None = None
) -> dict[tuple[Any, ...], Times]:
    """Time rivals in turns.

    Parameters
    ----------
    rivals : mapping
        The benchmark's params -> the rival.
    floor : Rival, optional
        What ratios are taken to.

    Returns
    -------
    dict
        The params -> `Times`.

    Notes
    -----
    `p50` is the median over turns of many runs each, less the median of an empty loop's turns: the
    clock is read twice a turn, so it costs next to nothing. `mean` is likewise of turns. To `p99`
    and `largest` each run was timed by itself, and the cost of reading the clock is in them. The
    garbage collector is off.
    """
    empty = Rival("pass", {})
    entrants = {key: _Entrant(rival) for key, rival in rivals.items()}
    loop = _Entrant(empty)
    ground = _Entrant(floor) if floor is not None else None
    order = random.Random(1)
    everyone = [*entrants.values(), loop, *([ground] if ground is not None else [])]
    gc.collect()
    gc.disable()
    try:
        for _ in range(quicker(_TURNS, 20)):
            order.shuffle(everyone)  # nobody always runs after the same neighbour
            for entrant in everyone:
                entrant.burst_times.append(entrant.turn())
        while any(len(each.single_times) < each.singles_wanted for each in entrants.values()):
            for entrant in entrants.values():
                entrant.single_turn()
    finally:
        gc.enable()
    loop_ns = median(loop.burst_times)
    floor_ns = median(ground.burst_times) - loop_ns if ground is not None else 0.0
    found = {}
    for key, entrant in entrants.items():
        per = entrant.rival.per
        p50 = (median(entrant.burst_times) - loop_ns) / per
        mean = (fmean(entrant.burst_times) - fmean(loop.burst_times)) / per
        singles = summary(entrant.single_times)
        ratio = p50 / floor_ns if floor_ns > 0 else float("nan")
        found[key] = Times(
            mean, p50, singles.p99 / per, singles.largest / per, singles.samples, ratio
        )
    return found


def summary(samples_ns: Sequence[int]) -> Times:
    """What is kept of times that were taken one by one. Percentiles are times that occurred."""
    if not samples_ns:
        raise ValueError("no samples were taken")
    ordered = sorted(samples_ns)
    p50, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.99))
    return Times(fmean(ordered), p50, p99, ordered[-1], len(ordered))


_UNITS = {"ns": 1.0, "us": 1e3, "ms": 1e6}


def reports(unit: str, *, to_floor: bool = False) -> Callable[[type], type]:
    """Give a class whose `setup_cache` answers a dict of params -> `Times` its `track_*` functions.

    Parameters
    ----------
    unit : {"ns", "us", "ms"}
    to_floor : bool
        Also track the ratio to the floor.
    """

    def tracker(name: str, unit: str, value: Callable[[Times], float]) -> Callable[..., float]:
        def track(self: object, times: dict[tuple[Any, ...], Times], *params: Any) -> float:
            return round(value(times[params]), 3)

        track.__name__ = track.__qualname__ = name
        track.unit = unit  # type: ignore[attr-defined]  # asv reads it off the function
        return track

    def add(cls: type) -> type:
        scale = _UNITS[unit]
        tracks = [
            tracker("track_mean", unit, lambda times: times.mean / scale),
            tracker("track_p50", unit, lambda times: times.p50 / scale),
            tracker("track_p99", unit, lambda times: times.p99 / scale),
            tracker("track_max", unit, lambda times: times.largest / scale),
        ]
        if to_floor:
            tracks.append(tracker("track_ratio_to_floor", "x an empty call", lambda t: t.ratio))
        for track in tracks:
            setattr(cls, track.__name__, track)
        return cls

    return add
