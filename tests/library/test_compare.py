"""The comparison's figures are right, empty samples are refused, and whoever fails is told of."""

import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from house.tree import ROOT

sys.path.append(str(ROOT / "asv_bench"))  # where `compare` is; nothing of it is installed

from compare.figures import (
    EmptySample,
    latencies_us,
    medians,
    percentile,
    rate_per_s,
    ratios,
)
from compare.report import block_of
from compare.rounds import Outcome, Turn, alternate, watched
from compare.teams import TeamFailed, member


def turn(others: float = 0.0, **values: float) -> Turn:
    return Turn(values=values, samples=10, others_percent=others)


@given(st.lists(st.integers(0, 10**12), min_size=1), st.floats(0.001, 1.0))
def test_percentile_is_the_sample_that_numpy_finds(samples: list[int], share: float) -> None:
    ordered = sorted(samples)
    found = percentile(ordered, share)
    assert found in samples
    assert sum(each <= found for each in ordered) >= share * len(ordered)
    assert sum(each < found for each in ordered) < share * len(ordered)
    assert found == np.quantile(ordered, share, method="inverted_cdf") or share * len(ordered) % 1


def test_latencies_are_percentiles_in_microseconds_whatever_the_order() -> None:
    samples = [1000 * each for each in range(100, 0, -1)]
    assert latencies_us(samples) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def test_rate_is_messages_by_seconds() -> None:
    assert rate_per_s(1_000, 2_000_000_000) == {"per_s": 500.0}


def test_ratio_is_the_median_of_the_rounds_not_of_the_sums() -> None:
    ours = [{"p50": 1.0}, {"p50": 10.0}, {"p50": 300.0}]
    theirs = [{"p50": 2.0}, {"p50": 20.0}, {"p50": 100.0}]
    assert ratios(ours, theirs) == {"p50": 0.5}
    assert ratios(theirs, ours) == {"p50": 2.0}


@pytest.mark.parametrize(
    "ask",
    [
        lambda: percentile([], 0.5),
        lambda: latencies_us([]),
        lambda: rate_per_s(0, 1_000),
        lambda: rate_per_s(5, 0),
        lambda: medians([]),
        lambda: ratios([], []),
        lambda: ratios([{"p50": 1.0}], [{"p50": 0.0}]),
        lambda: watched(list, lambda: ({"p50": 1.0}, 0)),
        lambda: alternate({}, 0, repeat=False, said=str),
        lambda: block_of("k", "t", "us", Outcome(turns={"a": []}, failed={}, made=1), ours=["a"]),
    ],
)
def test_empty_samples_are_refused(ask: Callable[[], object]) -> None:
    with pytest.raises(EmptySample):
        ask()


def test_rounds_of_different_numbers_have_no_ratio() -> None:
    with pytest.raises(ValueError, match="2 rounds of ours against 1"):
        ratios([{"p50": 1.0}] * 2, [{"p50": 1.0}])


def test_a_row_has_its_medians_its_spread_and_ours_over_it() -> None:
    turns = {
        "ours": [turn(p50=2.0, p95=4.0), turn(p50=4.0, p95=6.0), turn(p50=3.0, p95=5.0)],
        "theirs": [turn(p50=4.0, p95=4.0), turn(7.0, p50=8.0, p95=3.0), turn(p50=6.0, p95=10.0)],
    }
    outcome = Outcome(turns=turns, failed={"third": "it fell over"}, made=4)
    block = block_of("k", "t", "us", outcome, ours=["ours", "absent"], notes={"theirs": "1 by 1"})
    ours, theirs = block.rows
    assert ours.values == {"p50": 3.0, "p95": 5.0} and not ours.ratios
    assert theirs.values == {"p50": 6.0, "p95": 4.0}
    assert (theirs.low, theirs.high, theirs.samples) == (4.0, 8.0, 30)
    assert theirs.ratios == {"ours": {"p50": 0.5, "p95": 1.0}}
    assert theirs.others_percent == 7.0 and theirs.note == "1 by 1"
    assert (block.rounds, block.rounds_made) == (3, 4)
    assert block.failed == {"third": "it fell over"}


def test_disturbed_rounds_are_repeated_and_the_calmest_count_for_everybody() -> None:
    shares = iter([0.0, 50.0, 90.0, 0.0, 0.0, 0.0])  # two contestants: three rounds
    asked: list[str] = []

    def measured(name: str) -> Callable[[], Turn]:
        def measure() -> Turn:
            asked.append(name)
            return turn(next(shares), p50=float(len(asked)))

        return measure

    outcome = alternate({n: measured(n) for n in "ab"}, 1, repeat=True, said=str)
    assert asked == ["a", "b", "b", "a", "a", "b"]
    assert outcome.made == 3
    assert {name: turns[0].values["p50"] for name, turns in outcome.turns.items()} == {
        "a": 5.0,
        "b": 6.0,
    }


def test_who_fails_is_named_and_the_rest_goes_on() -> None:
    left = [2]

    def fails() -> Turn:
        left[0] -= 1
        if left[0] < 0:
            raise TeamFailed("its process ended")
        return turn(p50=1.0)

    outcome = alternate({"frail": fails, "sound": lambda: turn(p50=2.0)}, 4, repeat=False, said=str)
    assert outcome.failed == {"frail": "its process ended"}
    assert list(outcome.turns) == ["sound"] and len(outcome.turns["sound"]) == 4


# --- processes ----------------------------------------------------------------------------------


class Plain:
    """An end that needs nothing."""

    def close(self) -> None:
        pass


def refuse() -> Plain:
    raise OSError("no such device")


def double(end: Plain, number: int) -> int:
    return 2 * number


def fall_over(end: Plain) -> None:
    raise LookupError("not there")


def vanish(end: Plain) -> None:
    sys.exit(3)


def hang(end: Plain) -> None:
    time.sleep(3600)


def test_a_member_does_what_it_is_told() -> None:
    with member("it", Plain) as it:
        it.ready()
        for number in (1, 20):
            it.begin(double, number, timeout_s=30)
            assert it.answer(time.monotonic() + 30) == 2 * number


@pytest.mark.parametrize(
    ("order", "limit_s", "said"),
    [(fall_over, 30, "LookupError: not there"), (vanish, 30, "SystemExit"), (hang, 0.1, "time")],
)
def test_a_member_that_fails_or_hangs_is_given_up(
    order: Callable[[Plain], None], limit_s: float, said: str
) -> None:
    with member("it", Plain) as it:
        it.ready()
        it.begin(order, timeout_s=30)
        with pytest.raises(TeamFailed, match=f"it: .*{said}"):
            it.answer(time.monotonic() + limit_s)


def test_an_end_that_cannot_be_opened_says_why() -> None:
    with member("it", refuse) as it, pytest.raises(TeamFailed, match="OSError: no such device"):
        it.ready()
