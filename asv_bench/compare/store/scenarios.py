"""What is measured, and how one contestant is measured once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import msgspec

from ..figures import latencies_us
from ..rounds import Turn, watched
from ..teams import Member, member
from .ends import Contestant, End

__all__ = ["SCENARIOS", "Crowd", "Scenario", "crowd", "fill", "numbered", "read_for", "slices"]

_SLICE = 1_000  # calls that share two readings of the clock
_STEP = {"get_batch": 100, "set_batch": 1_000, "batches": 100}
_LIMIT_S = 120.0
_AHEAD_NS = 20_000_000
_WRITES = 9  # seed of the writer's keys; the readers count from 0
_NUMBERS = 64  # different values that a writer writes, one after the other


def numbered(number: int) -> bytes:
    """64 bytes, eight times the same number: half of one and half of another is neither."""
    return number.to_bytes(8, "little") * 8


_VALUES: dict[str, Any] = {
    "bytes": numbered(0),
    "dict": {"text": "a note", "score": 0.5, "tags": ["a", "b"], "count": 3},
    "int": 1 << 40,
    "float": 0.5,
}


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One block of the table.

    Parameters
    ----------
    key, title : str
    kind : str
        "hot", "hot_text", "random", "miss", "overwrite", "insert", "get_batch", "set_batch": one
        process; "mixed", "batches", "whole": two that read beside one that writes.
    value : str
        What is kept, a name in `_VALUES`.
    reads_wanted : int
        Until so many were made it goes on; 0: for a turn.
    """

    key: str
    title: str
    kind: str
    value: str = "bytes"
    reads_wanted: int = 0

    @property
    def is_crowded(self) -> bool:
        """Whether several processes take part at once."""
        return self.kind in ("mixed", "batches", "whole")

    @property
    def unit(self) -> str:
        """Of its figures."""
        return "ops_per_s" if self.is_crowded else "us"


SCENARIOS = (
    Scenario(key="hot", title="get, one key, 64 bytes", kind="hot"),
    Scenario(key="hot-int", title="get, one key, an int", kind="hot", value="int"),
    Scenario(key="hot-float", title="get, one key, a float", kind="hot", value="float"),
    Scenario(key="hot-dict", title="get, one key, a small dict", kind="hot", value="dict"),
    Scenario(key="hot-text", title="get, one key, a new str each time", kind="hot_text"),
    Scenario(key="random", title="get, random keys, 64 bytes", kind="random"),
    Scenario(key="miss", title="get of a missing key", kind="miss"),
    Scenario(key="overwrite", title="set over random keys, 64 bytes", kind="overwrite"),
    Scenario(key="insert", title="set of new keys, 64 bytes", kind="insert"),
    Scenario(key="get-batch", title="100 random keys at once, for each", kind="get_batch"),
    Scenario(key="set-batch", title="1,000 random keys at once, for each", kind="set_batch"),
    Scenario(key="mixed", title="2 readers beside 1 writer: reads, writes", kind="mixed"),
    Scenario(
        key="mixed-batch",
        title="the same, 100 keys read at once, 1,000 written",
        kind="batches",
    ),
    Scenario(
        key="whole",
        title="2 readers beside 1 writer, 100,000,000 reads",
        kind="whole",
        reads_wanted=100_000_000,
    ),
    # The last: it leaves other values than those above expect.
    Scenario(
        key="overwrite-dict",
        title="set over random keys, a small dict",
        kind="overwrite",
        value="dict",
    ),
)


def fill(end: End, entries: int) -> None:
    """A value for every key."""
    keys = _keys(entries)
    for at in range(0, entries, _STEP["set_batch"]):
        end.set_many(keys[at : at + _STEP["set_batch"]], _VALUES["bytes"])


def _keys(entries: int, seed: int | None = None) -> list[str]:
    keys = [f"key-{number:07d}" for number in range(entries)]
    return keys if seed is None else [keys[number] for number in _order(entries, seed)]


@cache
def _order(entries: int, seed: int) -> list[int]:
    """Shuffled once for all turns, where it took as long as the turn itself; keys are made anew."""
    numbers = list(range(entries))
    random.Random(seed).shuffle(numbers)
    return numbers


@cache
def _own_keys(entries: int, seed: int) -> list[str]:
    return _keys(entries, seed)


def prepare(end: End, entries: int, seed: int) -> int:
    """Have the keys at hand before time is measured."""
    return len(_own_keys(entries, seed))


def slices(
    scenario: Scenario, contestant: type[Contestant], end: End, entries: int, turn_s: float
) -> tuple[dict[str, float], int]:
    """Time slices of calls for so long: nanoseconds a call, as microseconds."""
    value, kind = _VALUES[scenario.value], scenario.kind
    size = contestant.writes_timed if kind in ("overwrite", "insert") else _SLICE
    hot = "the hot key"
    if kind.startswith("hot"):
        end.set(hot, value)
    same = {
        "hot": [hot] * _SLICE,
        "hot_text": [hot] * _SLICE,
        "miss": ["no such key"] * _SLICE,
        "insert": [f"new-{number:07d}" for number in range(size)],
    }.get(kind)
    keys = _keys(entries, seed=1) if same is None else same
    run = _loop(end, kind)
    around = _cuts(keys, len(keys) if same is not None else size)
    samples: list[int] = []
    stop = time.perf_counter() + turn_s
    while time.perf_counter() < stop or not samples:
        cut = next(around)
        if kind == "hot_text":  # equal, and nobody's: its hash is not known, nor its address
            cut = ["".join(["the ", key[4:]]) for key in cut]
        begun = time.perf_counter_ns()
        run(cut, value)
        samples.append((time.perf_counter_ns() - begun) // len(cut))
        if kind == "insert":
            end.delete_many(cut)
    kept = {"hot": hot, "random": keys[0], "overwrite": keys[0], "set_batch": keys[0]}.get(kind)
    if kept is not None and end.get(kept) != value:
        raise AssertionError("it does not give back what was kept")
    if kind == "miss" and end.get("no such key") is not None:
        raise AssertionError("it has what nobody kept")
    return latencies_us(samples), len(samples) * size


def _cuts(keys: Sequence[str], size: int = _SLICE) -> Iterator[Sequence[str]]:
    while True:
        for at in range(0, len(keys) - size + 1, size):
            yield keys[at : at + size]


def _loop(end: End, kind: str) -> Callable[[Sequence[str], Any], None]:
    if kind == "get_batch":
        step = _STEP[kind]

        def batches(keys: Sequence[str], value: Any) -> None:
            for at in range(0, len(keys), step):
                end.get_many(keys[at : at + step])

        return batches
    if kind == "set_batch":
        return end.set_many
    call = {"miss": end.look, "overwrite": end.write, "insert": end.write}.get(kind, end.read)
    made: Callable[[Sequence[str], Any], None] = _compiled(
        end, "keys, value", f"    for key in keys:\n        {call}\n"
    )
    return made


def _compiled(end: End, arguments: str, body: str) -> Any:
    """A function with this body, in which what an end's expressions name is local."""
    scope = {"end": end, **end.names}
    given = "".join(f", {name}={name}" for name in scope)
    exec(f"def run({arguments}{given}):\n{body}", scope)
    return scope["run"]


# --- several processes at once


class Crowd:
    """Two processes that read random keys while a third writes them."""

    def __init__(self, readers: Sequence[Member], writer: Member, writes_timed: int) -> None:
        self._readers = readers
        self._writer = writer
        self._writes_timed = writes_timed

    def measure(
        self,
        scenario: Scenario,
        entries: int,
        turn_s: float,
        reads_wanted: int,
        pids: Callable[[], list[int]],
    ) -> Turn:
        """Reads and writes a second; how many reads were of no value that anybody wrote."""
        counted: dict[str, int] = {}
        for seed, each in ((0, self._readers[0]), (1, self._readers[1]), (_WRITES, self._writer)):
            each.begin(prepare, entries, seed, timeout_s=_LIMIT_S)
        for each in (*self._readers, self._writer):
            each.answer(time.monotonic() + _LIMIT_S)

        def measure() -> tuple[dict[str, float], int]:
            begin_ns = time.monotonic_ns() + _AHEAD_NS
            batched = scenario.kind == "batches"
            each_wanted = reads_wanted // len(self._readers)
            for seed, reader in enumerate(self._readers):
                arguments = (entries, begin_ns, turn_s, seed, batched, each_wanted)
                reader.begin(read_for, *arguments, timeout_s=_LIMIT_S)
            if reads_wanted:  # it writes until it is told that they are done
                return self._until_read(entries, begin_ns, counted)
            arguments = (entries, begin_ns, turn_s, _WRITES, batched, self._writes_timed)
            self._writer.begin(write_for, *arguments, timeout_s=_LIMIT_S)
            found = [each.answer(time.monotonic() + _LIMIT_S) for each in self._readers]
            writes, passed_s = self._writer.answer(time.monotonic() + _LIMIT_S)
            return _rates(found, writes / passed_s, counted)

        turn = watched(pids, measure)
        return msgspec.structs.replace(turn, counts=counted)

    def _until_read(
        self, entries: int, begin_ns: int, counted: dict[str, int]
    ) -> tuple[dict[str, float], int]:
        found: list[Any] = [None] * len(self._readers)
        writes, written_s = 0, 0.0
        deadline = time.monotonic() + _LIMIT_S
        while any(each is None for each in found):
            started_ns = max(begin_ns, time.monotonic_ns())
            arguments = (entries, started_ns, 1.0, _WRITES, False, self._writes_timed)
            self._writer.begin(write_for, *arguments, timeout_s=_LIMIT_S)
            more, passed_s = self._writer.answer(deadline)
            writes, written_s = writes + more, written_s + passed_s
            for number, reader in enumerate(self._readers):
                if found[number] is None and reader.has_answered():
                    found[number] = reader.answer(deadline)
        return _rates(found, writes / written_s, counted)


def _rates(
    found: Sequence[tuple[int, float, int, int]], writes_per_s: float, counted: dict[str, int]
) -> tuple[dict[str, float], int]:
    reads = sum(each[0] for each in found)
    counted["torn"] = sum(each[2] for each in found)
    counted["missed"] = sum(each[3] for each in found)
    per_s = sum(each[0] / each[1] for each in found)
    return {"per_s": per_s, "writes_per_s": writes_per_s}, reads


@contextmanager
def crowd(contestant: type[Contestant], address: Any) -> Iterator[Crowd]:
    """The processes, each with its own access; asleep while others have their turn."""
    with ExitStack() as stack:
        names = ("a reader", "a reader", "the writer")
        members = [
            stack.enter_context(member(f"{contestant.name}, {name}", contestant.end, address))
            for name in names
        ]
        for each in members:
            each.ready()
        yield Crowd(members[:2], members[2], contestant.writes_timed)


def read_for(
    end: End,
    entries: int,
    begin_ns: int,
    turn_s: float,
    seed: int,
    batched: bool,
    reads_wanted: int,
) -> tuple[int, float, int, int]:
    """Reads made, the seconds they took; torn values, and keys that were said to be missing."""
    around = _cuts(_own_keys(entries, seed))
    sound = frozenset(numbered(number) for number in range(_NUMBERS))
    if batched:
        step = _STEP["batches"]

        def run(keys: Sequence[str]) -> list[Any]:
            found: list[Any] = []
            for at in range(0, len(keys), step):
                found += end.get_many(keys[at : at + step])
            return found
    else:
        run = _compiled(end, "keys", f"    return [{end.read} for key in keys]\n")
    count = torn = missed = 0
    stop_ns = begin_ns + int(turn_s * 1e9)
    _wait_for(begin_ns)
    while count < reads_wanted or (not reads_wanted and time.monotonic_ns() < stop_ns) or not count:
        found = run(next(around))
        if not sound.issuperset(found):
            missed += found.count(None)
            torn += sum(value not in sound for value in found if value is not None)
        count += _SLICE
    return count, (time.monotonic_ns() - begin_ns) / 1e9, torn, missed


def write_for(
    end: End,
    entries: int,
    begin_ns: int,
    turn_s: float,
    seed: int,
    batched: bool,
    writes_timed: int,
) -> tuple[int, float]:
    """Writes made, and the seconds they took."""
    size = _SLICE if batched else writes_timed
    run = _loop(end, "set_batch" if batched else "overwrite")
    around = _cuts(_own_keys(entries, seed), size)
    values = [numbered(number) for number in range(_NUMBERS)]
    count = 0
    stop_ns = begin_ns + int(turn_s * 1e9)
    _wait_for(begin_ns)
    while time.monotonic_ns() < stop_ns or not count:  # at least a slice, however slow
        run(next(around), values[count // size % _NUMBERS])
        count += size
    return count, (time.monotonic_ns() - begin_ns) / 1e9


def _wait_for(begin_ns: int) -> None:
    while time.monotonic_ns() < begin_ns:
        time.sleep(0)
