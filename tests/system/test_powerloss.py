"""The power cut at every write of a snapshot; the long form is `powerloss.py` beside this file."""

import random

import pytest

from system import powerloss


@pytest.mark.timeout(300)
def test_a_power_cut_costs_no_snapshot_that_was_answered_for() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    report = powerloss.run(25, 5, seed)
    assert report.snapshots == 25
    assert report.in_flight > 25
    assert report.passed, f"seed {seed}: {report}"


def test_a_write_that_is_not_synced_in_time_would_be_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = powerloss._steps
    # As if the disk said of the pages that they are there, and kept them in its cache.
    monkeypatch.setattr(
        powerloss, "_steps", lambda log: (step for step in real(log) if step.kind != "S")
    )
    report = powerloss.run(8, 4, 7)
    assert report.faults and not report.passed
