"""Rounds of a measurement: the calm ones count, and what a round came to never decides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrafast.core import bucket_upper
from ultrafast.validation.figures import Figure, check_latency
from ultrafast.validation.rounds import (
    CALM_PERCENT,
    Lap,
    calmest,
    enough,
    laps_of,
    median_p95_ms,
    merged,
)


def lap(others: float, bucket: int = 100, samples: int = 10) -> Lap:
    counts = np.zeros(len(bucket_upper()), dtype=np.uint64)
    counts[bucket] = samples
    return Lap(counts=counts, total_ns=samples * 1000, others_percent=others)


@given(st.floats(0.01, 1000))
def test_rounds_add_up_to_the_time_that_was_asked_for(duration_s: float) -> None:
    wanted, lap_s = laps_of(duration_s)
    assert wanted >= 1
    assert wanted * lap_s == pytest.approx(duration_s)


def test_as_many_calm_rounds_as_wanted_are_enough() -> None:
    calm, loud = lap(CALM_PERCENT), lap(CALM_PERCENT + 1)
    assert not enough([], 2)
    assert not enough([calm, loud], 2)
    assert enough([calm, loud, calm], 2)


def test_on_a_machine_that_is_never_calm_it_ends() -> None:
    laps = []
    while not enough(laps, 3):
        laps.append(lap(50.0))
        assert len(laps) < 100
    assert len(laps) == 12


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.integers(1, 5))
def test_those_with_the_least_disturbance_count(others: list[float], wanted: int) -> None:
    laps = [lap(each) for each in others]
    used = calmest(laps, wanted)
    assert sorted(each.others_percent for each in used) == sorted(others)[:wanted]
    order = [next(i for i, one in enumerate(laps) if one is each) for each in used]
    assert order == sorted(order)


def test_a_slow_calm_round_counts_and_a_fast_disturbed_one_does_not() -> None:
    slow, fast = lap(0.0, bucket=900), lap(30.0, bucket=10)
    assert calmest([fast, slow], 1) == [slow]


def test_all_samples_of_the_rounds_are_in_the_summary() -> None:
    both = merged([lap(0, 100, 10), lap(0, 500, 30)])
    assert both.count == 40
    assert both.p50_ms == merged([lap(0, 500)]).p50_ms
    assert both.mean_ms == pytest.approx(0.001)


def test_the_median_is_over_rounds_and_an_empty_round_has_none() -> None:
    laps = [lap(0, 100), lap(0, 900), lap(0, 200)]
    assert median_p95_ms(laps) == merged([lap(0, 200)]).p95_ms
    assert median_p95_ms([*laps, lap(0, 1, samples=0)]) is None


def test_a_target_is_held_against_the_median_of_the_rounds() -> None:
    figure = Figure(name="x", phase="idle", conditions="", samples=9, p95_ms=5.0, median_p95_ms=1.0)
    check = check_latency(figure, 1.0, "goal")
    assert check.passed and check.measured == 1.0 and check.name == "x median p95, idle"
