"""The table over several processes against a dict: room, stamps, expiry, and deaths."""

import itertools
import time
from typing import NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from doors.processes import PROCESSES, ProcessMachine, explore, refute
from ultrafast.core import Table
from ultrafast.core._status import EXISTS, MISSING, NO_BLOCK, OK, STORE_FULL

Key = tuple[str, str]
Value = bool | int | float | str | bytes | None

ACTORS = st.integers(0, PROCESSES - 1)
SPACES, NAMES = ["", "a", "ab", "ü"], ["", "b", "k", "ключ"]
KEYS = st.tuples(st.sampled_from(SPACES), st.sampled_from(NAMES))
VALUES: st.SearchStrategy[Value] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=60),
    st.binary(max_size=200),
    st.binary(min_size=505, max_size=700),  # read onto the stack, and not
)
EXPIRES = st.sampled_from([0, 0, 1, 2])  # never, long ago, in an hour
NO_STAMP = 1 << 63  # they have 62 bits
HOUR_NS = 3600 * 10**9


class Kept(NamedTuple):
    """An entry, as the model knows it; the stamp of one whose time is over is never told."""

    value: Value
    stamp: int | None
    expires_ns: int


class TableMachine(ProcessMachine):
    """One bucket, with room for seven entries or fifteen, and three processes that use it."""

    wanted = (
        "no block",
        "store full",
        "extended",
        "expired",
        "another's stamp",
        "deaths",
        "block wrapped",
        "bucket wrapped",
        "incarnation wrapped",
    )

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[Key, Kept] = {}
        self.stamps: set[int] = set()

    @initialize(
        before=st.integers(1, 6),
        extensions=st.integers(0, 1),
        blocks=st.sampled_from([31, 1, 2, 4]),
    )
    def open(self, before: int, extensions: int, blocks: int) -> None:
        # With fewer than 32 blocks no process keeps any to itself: "exhausted" is exact.
        self.begin(before, buckets=1, extensions=extensions, value_blocks=((1024, blocks),))
        self.blocks, self.places = blocks, 7 + 8 * extensions
        self.mine = Table(self.region)

    def live(self, key: Key) -> Kept | None:
        kept = self.model.get(key)
        return kept if kept is not None and kept.expires_ns != 1 else None

    def refusal(self, key: Key) -> int:
        """Why there is no room for this key: OK when there is."""
        if len(self.model) >= self.blocks:
            self.note("no block")
            return NO_BLOCK  # an update wants a block too, for it never writes over what is read
        if key not in self.model and len(self.model) == self.places:
            self.note("store full")
            return STORE_FULL
        return OK

    def fresh(self, stamp: int) -> int:
        """No stamp is given twice."""
        assert stamp != 0 and stamp not in self.stamps
        self.stamps.add(stamp)
        return stamp

    def put(self, key: Key, kept: Kept) -> None:
        self.model[key] = kept
        if len(self.model) > 7:
            self.note("extended")

    @rule(
        actor=ACTORS, reader=ACTORS, key=KEYS, value=VALUES, expires=st.sampled_from([0, 0, 1, 2])
    )
    def set(self, actor: int, reader: int, key: Key, value: Value, expires: int) -> None:
        expires_ns = time.time_ns() + HOUR_NS if expires == 2 else expires
        refusal = self.refusal(key)
        stored = self.do(actor, "call", "table", "set", *key, value, expires_ns)
        assert stored is (refusal == OK)
        if not stored:
            return
        entry = self.do(reader, "call", "table", "get_entry", *key)
        if expires == 1:
            assert entry is None
            self.note("expired")
            self.put(key, Kept(value, None, 1))
        else:
            self.put(key, Kept(value, self.fresh(entry.stamp), expires_ns))

    @precondition(lambda self: len(self.model) < 3)
    @rule(first=ACTORS)
    def fill(self, first: int) -> None:
        """Keep small values until there is no room, one process after another."""
        for number, key in enumerate(itertools.product(SPACES, NAMES), first):
            self.set(number % PROCESSES, (number + 1) % PROCESSES, key, number, 0)

    @rule(actor=ACTORS, key=KEYS, value=VALUES, known=st.sampled_from(["right", "wrong", "none"]))
    def compare_and_set(self, actor: int, key: Key, value: Value, known: str) -> None:
        kept = self.live(key)
        now = kept.stamp if kept is not None and kept.stamp is not None else 0
        stamp = {"right": now, "wrong": NO_STAMP, "none": 0}[known]
        answer = self.do(actor, "call", "table", "compare_and_set", *key, value, stamp)
        if len(self.model) >= self.blocks:
            assert answer == (NO_BLOCK, 0)
        elif kept is not None and stamp != now:
            assert answer == (EXISTS, now)
            self.note("another's stamp")
        elif stamp != 0 and kept is None:
            assert answer == (MISSING, 0)
        elif (refusal := self.refusal(key)) != OK:
            assert answer == (refusal, 0)
        else:
            assert answer[0] == OK
            self.put(key, Kept(value, self.fresh(answer[1]), 0))

    @rule(actor=ACTORS, key=KEYS)
    def delete(self, actor: int, key: Key) -> None:
        gone = self.do(actor, "call", "table", "delete", *key)
        assert gone is (self.live(key) is not None)
        if key in self.model:  # what was expired has gone too
            self.forget(key)

    def forget(self, key: Key) -> None:
        del self.model[key]

    @rule(actor=ACTORS, key=KEYS, right=st.booleans())
    def delete_with_stamp(self, actor: int, key: Key, right: bool) -> None:
        kept = self.live(key)
        stamp = kept.stamp if right and kept is not None and kept.stamp is not None else NO_STAMP
        gone = self.do(actor, "call", "table", "delete", *key, stamp)
        assert gone is (right and kept is not None)
        if gone:
            self.forget(key)

    @rule(actor=ACTORS, key=KEYS)
    def read(self, actor: int, key: Key) -> None:
        kept = self.live(key)
        got = self.do(actor, "call", "table", "get", *key, "nothing")
        assert self.do(actor, "call", "table", "contains", *key) is (kept is not None)
        if kept is None:
            assert got == "nothing"
            return
        assert got == kept.value and type(got) is type(kept.value)
        entry = self.do(actor, "call", "table", "get_entry", *key)
        assert (entry.value, entry.stamp, entry.expires_ns) == kept

    @rule(actor=ACTORS, space=st.sampled_from([None, "", "a", "ab", "ü", "none"]))
    def keys(self, actor: int, space: str | None) -> None:
        wanted = [key for key in self.model if self.live(key) and space in (None, key[0])]
        assert sorted(self.do(actor, "call", "table", "keys", space)) == sorted(wanted)
        _, over = self.do(actor, "call", "table", "expired", 0)
        gone = {key for key, kept in self.model.items() if kept.expires_ns == 1}
        assert {(space, key) for space, key, _ in over} == gone

    @precondition(ProcessMachine.may_die)
    @rule(victim=ACTORS, other=st.integers(1, PROCESSES - 1))
    def kill(self, victim: int, other: int) -> None:
        mended = self.die(victim, (victim + other) % PROCESSES)
        assert (mended.emptied_entries, mended.freed_values) == (0, 0)

    @invariant()
    def numbers_agree(self) -> None:
        if hasattr(self, "mine"):
            assert self.mine.count() == len(self.model)
            assert [each.free for each in self.mine.blocks()] == [self.blocks - len(self.model)]

    def finish(self) -> None:
        for key in list(self.model):
            alive = self.live(key) is not None
            assert self.do(0, "call", "table", "delete", *key) is alive
        assert [each.free for each in self.mine.blocks()] == [self.blocks]
        for actor in self.actors:
            actor.end()


class NeverForgets(TableMachine):
    """A model that is wrong: it thinks that a deleted entry stays."""

    def forget(self, key: Key) -> None:
        pass


class Endless(TableMachine):
    """Another: it thinks that a bucket is never full."""

    def refusal(self, key: Key) -> int:
        return NO_BLOCK if len(self.model) >= self.blocks else OK


def test_a_table_of_several_processes_is_a_dict() -> None:
    explore(TableMachine, examples=20)


@pytest.mark.parametrize("wrong", [NeverForgets, Endless])
def test_a_wrong_model_of_the_table_is_refuted(wrong: type[TableMachine]) -> None:
    refute(wrong)
