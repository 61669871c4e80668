"""What is measured, and how one contestant is measured once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import msgspec

from ..figures import latencies_us
from ..rounds import Turn, watched
from ..teams import member
from .ends import Contestant, End

__all__ = ["SCENARIOS", "Scenario", "mixed", "slices"]

_SLICE = 1_000  # calls that share two readings of the clock
_SMALL = {"text": "a note", "score": 0.5, "tags": ["a", "b"], "count": 3}
_BYTES = bytes(range(64))
_STEP = {"get_batch": 100, "set_batch": 1_000}


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One block of the table.

    Parameters
    ----------
    key, title : str
    kind : {"hot", "random", "miss", "overwrite", "insert", "get_batch", "set_batch", "mixed"}
    small : bool
        The values are small dicts, not 64 bytes.
    """

    key: str
    title: str
    kind: str
    small: bool = False

    @property
    def unit(self) -> str:
        """Of its figures."""
        return "per_s" if self.kind == "mixed" else "us"

    @property
    def value(self) -> Any:
        """What is kept."""
        return _SMALL if self.small else _BYTES


SCENARIOS = (
    Scenario(key="hot", title="get, one key, 64 bytes", kind="hot"),
    Scenario(key="hot-dict", title="get, one key, a small dict", kind="hot", small=True),
    Scenario(key="random", title="get, random keys, 64 bytes", kind="random"),
    Scenario(key="miss", title="get of a missing key", kind="miss"),
    Scenario(key="overwrite", title="set over random keys, 64 bytes", kind="overwrite"),
    Scenario(
        key="overwrite-dict",
        title="set over random keys, a small dict",
        kind="overwrite",
        small=True,
    ),
    Scenario(key="insert", title="set of new keys, 64 bytes", kind="insert"),
    Scenario(key="get-batch", title="100 random keys at once, for each", kind="get_batch"),
    Scenario(key="set-batch", title="1,000 random keys at once, for each", kind="set_batch"),
    Scenario(key="mixed", title="2 readers beside 1 writer, 64 bytes, reads of both", kind="mixed"),
)


def slices(
    scenario: Scenario, end: End, entries: int, turn_s: float
) -> tuple[dict[str, float], int]:
    """Fill, then time slices of calls for so long: nanoseconds a call, as microseconds."""
    value, kind = scenario.value, scenario.kind
    keys = [f"key-{number:07d}" for number in range(entries)]
    for at in range(0, entries, _STEP["set_batch"]):
        end.set_many(keys[at : at + _STEP["set_batch"]], value)
    random.Random(1).shuffle(keys)
    fresh = [f"new-{number:07d}" for number in range(_SLICE)]
    run = _loop(end, kind)
    around = _cuts(keys)
    samples = []
    stop = time.perf_counter() + turn_s
    while time.perf_counter() < stop or not samples:
        cut = next(around)
        if kind == "hot":
            cut = [keys[0]] * _SLICE
        elif kind == "miss":
            cut = ["no such key"] * _SLICE
        elif kind == "insert":
            cut = fresh
        begun = time.perf_counter_ns()
        run(cut, value)
        samples.append((time.perf_counter_ns() - begun) // len(cut))
        if kind == "insert":
            end.delete_many(fresh)
    if kind in ("hot", "random") and end.get(keys[0]) != value:
        raise AssertionError("it does not give back what was kept")
    if kind == "miss" and end.get("no such key") is not None:
        raise AssertionError("it has what nobody kept")
    return latencies_us(samples), len(samples) * _SLICE


def _cuts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    while True:
        for at in range(0, len(keys) - _SLICE + 1, _SLICE):
            yield keys[at : at + _SLICE]


def _loop(end: End, kind: str) -> Callable[[Sequence[str], Any], None]:
    if kind == "get_batch":
        return lambda keys, value: (
            [end.get_many(keys[at : at + _STEP[kind]]) for at in range(0, len(keys), _STEP[kind])][
                :0
            ]
            and None
        )
    if kind == "set_batch":
        return end.set_many
    call = {"miss": end.look, "overwrite": end.write, "insert": end.write}.get(kind, end.read)
    names: dict[str, Any] = {}
    given = "".join(f", {name}={name}" for name in end.names)
    text = f"def run(keys, value, end=end{given}):\n    for key in keys:\n        {call}\n"
    exec(text, {"end": end, **end.names}, names)
    made: Callable[[Sequence[str], Any], None] = names["run"]
    return made


def mixed(
    contestant: type[Contestant],
    address: Any,
    entries: int,
    turn_s: float,
    limit_s: float,
    pids: Callable[[], list[int]],
) -> Turn:
    """Two processes that read random keys while a third writes them: reads a second, of both."""

    def measure() -> tuple[dict[str, float], int]:
        begin_ns = time.monotonic_ns() + 50_000_000
        for number, each in enumerate(everybody):
            order = write_for if each is writer else read_for
            each.begin(order, entries, begin_ns, turn_s, number, timeout_s=limit_s)
        counts = [each.answer(time.monotonic() + limit_s) for each in everybody]
        reads, writes = sum(counts[:2]), counts[2]
        return {"per_s": reads / turn_s, "writes_per_s": writes / turn_s}, reads

    with ExitStack() as stack:
        readers = [
            stack.enter_context(member(f"{contestant.name} reader", contestant.end, address))
            for _ in range(2)
        ]
        writer = stack.enter_context(member(f"{contestant.name} writer", contestant.end, address))
        everybody = [*readers, writer]
        for each in everybody:
            each.ready()
        writer.begin(fill, entries, timeout_s=limit_s)
        writer.answer(time.monotonic() + limit_s)
        return watched(pids, measure)


def _numbered(number: int) -> bytes:
    return number.to_bytes(8, "little") * 8


def fill(end: End, entries: int) -> None:
    """A value for every key, eight times the same number."""
    for number in range(entries):
        end.set(f"key-{number:07d}", _numbered(number))


def read_for(end: End, entries: int, begin_ns: int, turn_s: float, seed: int) -> int:
    """Reads made in the time; a torn value or a false miss is an error."""
    keys = [f"key-{number:07d}" for number in range(entries)]
    random.Random(seed).shuffle(keys)
    scope: dict[str, Any] = {}
    given = "".join(f", {name}={name}" for name in end.names)
    exec(
        f"def run(keys, end=end{given}):\n    return [{end.read} for key in keys]\n",
        {"end": end, **end.names},
        scope,
    )
    run, around, count = scope["run"], _cuts(keys), 0
    stop_ns = begin_ns + int(turn_s * 1e9)
    while time.monotonic_ns() < begin_ns:
        pass
    while time.monotonic_ns() < stop_ns or not count:  # at least a slice, however slow
        for value in run(next(around)):
            if len(value) != 64 or value != value[:8] * 8:
                raise AssertionError(f"a torn value: {value!r}")
        count += _SLICE
    return count


def write_for(end: End, entries: int, begin_ns: int, turn_s: float, seed: int) -> int:
    """Writes made in the time."""
    keys = [f"key-{number:07d}" for number in range(entries)]
    random.Random(seed).shuffle(keys)
    run, around, count = _loop(end, "overwrite"), _cuts(keys), 0
    stop_ns = begin_ns + int(turn_s * 1e9)
    while time.monotonic_ns() < begin_ns:
        pass
    while time.monotonic_ns() < stop_ns or not count:  # at least a slice, however slow
        run(next(around), _numbered(count))
        count += _SLICE
    return count
