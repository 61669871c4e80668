"""The short form of churn.py; the long one is `python tests/system/churn.py --minutes 10`."""

from system.churn import churn


def test_freed_memory_is_used_again() -> None:
    outcome = churn(0.05, looks=8, quiet=True)
    assert not outcome.found
    assert outcome.writes > 500 and len(outcome.looks) >= 4
    assert max(each.entries for each in outcome.looks) > 200
