"""Counters and histograms of several processes against sums: exact, over a wrap, after deaths."""

import array
from collections import Counter

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from doors.processes import PROCESSES, ProcessMachine, explore, refute
from ultrafast.core import bucket_upper

ACTORS = st.integers(0, PROCESSES - 1)
COUNTER = st.integers(0, 2)
HIST = st.integers(0, 1)
VALUES = st.one_of(st.integers(0, 300), st.integers(0, 2**41), st.integers(2**41, 2**64 - 1))
UPPER = bucket_upper()


class MetricsMachine(ProcessMachine):
    """Three counters and two histograms; three processes add, and any of them reads."""

    wanted = ("counted", "recorded", "recorded many", "deaths", "counter wrapped", "sum wrapped")

    @initialize(before=st.integers(1, 6), shards=st.sampled_from([1, 2, 4]))
    def open(self, before: int, shards: int) -> None:
        self.begin(before, shards=shards)
        self.counts: Counter[int] = Counter()
        self.values: dict[int, list[int]] = {0: [], 1: []}
        self.before = before

    def wrapped(self, total: int) -> int:
        return (total - self.before) % 2**64

    @rule(actor=ACTORS, counter=COUNTER, n=VALUES)
    def add(self, actor: int, counter: int, n: int) -> None:
        self.do(actor, "call", "metrics", "add", counter, n)
        self.counts[counter] += n
        self.note("counted")

    @rule(actor=ACTORS, hist=HIST, value=VALUES)
    def record(self, actor: int, hist: int, value: int) -> None:
        self.do(actor, "call", "metrics", "record", hist, value)
        self.values[hist].append(value)
        self.note("recorded")

    @rule(actor=ACTORS, hist=HIST, values=st.lists(VALUES, max_size=20))
    def record_many(self, actor: int, hist: int, values: list[int]) -> None:
        self.do(actor, "call", "metrics", "record_many", hist, array.array("Q", values))
        self.values[hist] += values
        self.note("recorded many")

    @rule(actor=ACTORS, counter=COUNTER)
    def read_counter(self, actor: int, counter: int) -> None:
        read = self.do(actor, "call", "metrics", "read_counter", counter)
        assert read == self.wrapped(self.counts[counter])

    @rule(actor=ACTORS, hist=HIST)
    def read(self, actor: int, hist: int) -> None:
        counts, total, largest = self.do(actor, "call", "metrics", "read", hist)
        values = self.values[hist]
        assert int(counts.sum()) == len(values)
        assert total == self.wrapped(sum(values))
        assert largest == max(values, default=0)
        uppers = np.repeat(UPPER, counts.astype(np.int64)).tolist()
        for value, upper in zip(sorted(values), uppers, strict=True):
            inside = min(value, 2**41 - 1)
            assert inside <= upper <= inside + inside / 100

    @precondition(ProcessMachine.may_die)
    @rule(victim=ACTORS, other=st.integers(1, PROCESSES - 1))
    def kill(self, victim: int, other: int) -> None:
        """What was counted stays counted."""
        self.die(victim, (victim + other) % PROCESSES)

    def finish(self) -> None:
        for each in (0, 1):
            self.read(each, each)
            self.read_counter(each, each)
        for actor in self.actors:
            actor.end()


class Saturating(MetricsMachine):
    """A model that is wrong: it thinks that counters stop at their end."""

    def wrapped(self, total: int) -> int:
        return min(2**64 - self.before + total, 2**64 - 1)


def test_metrics_of_several_processes_are_sums() -> None:
    explore(MetricsMachine, examples=20)


def test_a_wrong_model_of_metrics_is_refuted() -> None:
    refute(Saturating)
