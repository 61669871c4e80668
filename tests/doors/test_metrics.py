"""Histograms and counters: what is added is read, over all processes, within a bucket's width."""

import array
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doors.small import SMALL
from ultrafast import errors
from ultrafast.core import Metrics, Region, bucket_upper
from ultrafast.core._metrics import N_BUCKETS, N_COUNTERS, N_HISTS

UPPER = bucket_upper()
TOP = 2**41


def test_edges_grow_and_are_close() -> None:
    assert UPPER.shape == (N_BUCKETS,) and UPPER.dtype == np.uint64
    edges = [int(each) for each in UPPER]
    assert edges[:128] == list(range(128))
    assert all(low < high for low, high in itertools.pairwise(edges))
    widths = [(high - low) / high for low, high in itertools.pairwise(edges[127:])]
    assert max(widths) < 0.01
    assert edges[-1] == TOP - 1


@given(values=st.lists(st.integers(0, TOP - 1), min_size=1, max_size=50))
def test_every_value_is_within_a_hundredth(
    values: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Region.create(tmp_path_factory.mktemp("m") / "ultrafast-m", SMALL) as region:
        metrics = Metrics(region)
        for value in values:
            metrics.record(2, value)
        counts, total, largest = metrics.read(2)
        assert (int(counts.sum()), total, largest) == (len(values), sum(values), max(values))
        read = np.repeat(UPPER, counts.astype(np.int64)).tolist()
        for value, upper in zip(sorted(values), read, strict=True):
            assert value <= upper <= value + value / 100
        assert metrics.read(3)[0].sum() == 0


def test_many_at_once(region: Region) -> None:
    metrics = Metrics(region)
    values = np.arange(1, 1001, dtype=np.uint64)
    metrics.record_many(0, values)
    metrics.record_many(0, array.array("L", [5]))
    counts, total, largest = metrics.read(0)
    assert (int(counts.sum()), total, largest) == (1001, 500_505, 1000)
    for wrong in (np.arange(3), np.arange(3.0), b"12345678", np.arange(4, dtype=np.uint32)):
        with pytest.raises(TypeError, match="unsigned 64-bit"):
            metrics.record_many(0, wrong)
    with pytest.raises((ValueError, BufferError)):
        metrics.record_many(0, values[::2])


def test_beyond_the_top_is_the_last_bucket(region: Region) -> None:
    metrics = Metrics(region)
    metrics.record(0, TOP)
    metrics.record(0, 2**63)
    counts, _, largest = metrics.read(0)
    assert counts[-1] == 2 and largest == 2**63


def test_counters_add_up_over_processes_slots(region: Region) -> None:
    others = [Region.attach(region.path) for _ in range(4)]  # more than there are shards
    for number, each in enumerate([region, *others]):
        Metrics(each).add(5, number)
        Metrics(each).add(6)
        Metrics(each).record(1, 7)
    assert [Metrics(region).read_counter(each) for each in (4, 5, 6)] == [0, 10, 5]
    assert Metrics(region).read(1)[0][7] == 5
    with Region.attach(region.path, read_only=True) as reader:
        assert Metrics(reader).read_counter(5) == 10
        with pytest.raises(errors.RegionReadOnly):
            Metrics(reader).add(5)
        with pytest.raises(errors.RegionReadOnly):
            Metrics(reader).record(1, 1)
    for each in others:
        each.close()


def test_no_such_counter_or_histogram(region: Region) -> None:
    metrics = Metrics(region)
    for call in (
        lambda: metrics.add(N_COUNTERS),
        lambda: metrics.read_counter(N_COUNTERS),
        lambda: metrics.record(N_HISTS, 1),
        lambda: metrics.read(N_HISTS),
        lambda: metrics.record_many(N_HISTS, np.zeros(1, dtype=np.uint64)),
    ):
        with pytest.raises(errors.InvalidArgument, match=r"(counter 64 of 64|histogram 12 of 12)"):
            call()
    with pytest.raises(OverflowError):
        metrics.record(0, -1)
