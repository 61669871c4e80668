"""Figures, checks and accounting: no samples is a failure, and a missing figure too."""

import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ultrafast
from ultrafast.validation.figures import (
    Accounting,
    Figure,
    Quantity,
    check_latency,
    check_quantity,
    of_samples,
)
from ultrafast.validation.machine import CpuShares, machine_facts
from ultrafast.validation.targets import GOALS_MS, REQUIRED, check_all

MS = 1_000_000


def test_quantiles_are_samples() -> None:
    samples = [n * MS for n in range(1, 101)]
    random.Random(7).shuffle(samples)
    figure = of_samples("x", "idle", "", samples)
    assert (figure.p50_ms, figure.p95_ms, figure.p99_ms, figure.max_ms) == (50, 95, 99, 100)
    assert figure.mean_ms == 50.5
    assert figure.samples == 100


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=200))
def test_quantiles_are_ordered_and_never_too_small(samples: list[int]) -> None:
    figure = of_samples("x", "idle", "", samples)
    assert figure.p50_ms is not None and figure.p95_ms is not None
    assert figure.p50_ms <= figure.p95_ms <= (figure.max_ms or 0)
    below = sum(one / 1e6 <= figure.p95_ms for one in samples)
    assert below >= 0.95 * len(samples)


def test_no_samples_meet_no_target() -> None:
    empty = of_samples("x", "idle", "", [])
    assert not check_latency(empty, 1e9, "goal").passed
    nothing = Quantity(name="x", unit="", value=5.0, samples=0)
    assert not check_quantity(nothing, "at least", 1.0, "goal").passed
    assert check_quantity(nothing, "at least", 1.0, "goal").measured is None


@pytest.mark.parametrize(("value", "met"), [(0.9, True), (1.0, True), (1.1, False)])
def test_a_target_is_met_up_to_its_edge(value: float, met: bool) -> None:
    figure = Figure(name="x", phase="idle", conditions="", samples=3, p95_ms=value)
    assert check_latency(figure, 1.0, "goal").passed is met
    quantity = Quantity(name="x", unit="", value=value, samples=3)
    assert check_quantity(quantity, "at most", 1.0, "goal").passed is met
    assert check_quantity(quantity, "at least", 1.0, "goal").passed is (value >= 1.0)


def good_figures() -> list[Figure]:
    return [
        Figure(name=name, phase="idle", conditions="", samples=9, p95_ms=GOALS_MS[name] / 2)
        for name in REQUIRED
    ]


GOOD = [
    Quantity(name="live agents", unit="", value=10, samples=10),
    Quantity(name="memory", unit="MiB", value=300, samples=3),
]


def test_all_targets_are_checked_and_a_figure_that_is_missing_fails() -> None:
    config = ultrafast.Config()
    assert all(check.passed for check in check_all(good_figures(), GOOD, config, 10))
    for missing in REQUIRED:
        figures = [figure for figure in good_figures() if figure.name != missing]
        failed = [check for check in check_all(figures, GOOD, config, 10) if not check.passed]
        assert failed
        assert all(check.name.startswith(missing) and not check.samples for check in failed)
    for missing_quantity in GOOD:
        quantities = [each for each in GOOD if each is not missing_quantity]
        assert not all(check.passed for check in check_all(good_figures(), quantities, config, 10))


def test_fewer_live_agents_than_asked_and_too_much_memory_fail() -> None:
    config = ultrafast.Config()
    assert not all(check.passed for check in check_all(good_figures(), GOOD, config, 11))
    heavy = [GOOD[0], Quantity(name="memory", unit="MiB", value=1025, samples=3)]
    assert not all(check.passed for check in check_all(good_figures(), heavy, config, 10))


def test_the_config_sets_the_targets_of_busy_systems_too() -> None:
    busy = Figure(name="communication", phase="busy", conditions="", samples=9, p95_ms=3.0)
    figures = [*good_figures(), busy]
    assert all(check.passed for check in check_all(figures, GOOD, ultrafast.Config(), 10))
    strict = ultrafast.Config(max_communication_latency_ms=2.0)
    failed = [check for check in check_all(figures, GOOD, strict, 10) if not check.passed]
    assert [(check.name, check.origin) for check in failed] == [
        ("communication p95, busy", "config")
    ]


@pytest.mark.parametrize(
    ("fields", "holds"),
    [
        ({}, True),
        ({"delivered": 6}, False),
        ({"refused": 3}, False),
        ({"dead_lettered": 0}, False),
        ({"paced_received": 3}, False),
        ({"paced_received": 5}, False),
    ],
)
def test_the_accounting_holds_only_when_nothing_is_missing_or_double(
    fields: dict[str, int], holds: bool
) -> None:
    counts = {
        "sent": 10,
        "delivered": 7,
        "refused": 2,
        "dead_lettered": 1,
        "paced_accepted": 4,
        "paced_received": 4,
    }
    assert Accounting(**{**counts, **fields}).holds is holds


def test_the_machine_is_described() -> None:
    facts = machine_facts()
    assert facts.cpus >= 1
    assert facts.memory_bytes > 1 << 20
    assert facts.cpu_model and facts.kernel.startswith("Linux")
    assert facts.versions["ultrafast"] == ultrafast.__version__


def test_other_programs_are_told_from_the_measured_ones() -> None:
    burn = "import sys; print(flush=True); i = 0\nwhile True: i += 1"
    with subprocess.Popen([sys.executable, "-c", burn], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with_child = CpuShares(lambda: [child.pid])
        without = CpuShares(list)
        ours, others = 0.0, 0.0
        while not 0 <= ours < others <= 100:  # the watchdog ends what never comes true
            ours, others = (shares.others_percent()[0] or 0.0 for shares in (with_child, without))
        child.kill()
