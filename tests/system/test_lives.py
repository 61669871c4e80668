"""The short form of lives.py; the long one is `python tests/system/lives.py --cycles 1000000`."""

import pytest

from system.lives import Look, judge, live

pytestmark = pytest.mark.usefixtures("clean_shm")


def test_a_terminated_agent_gives_everything_back() -> None:
    outcome = live(4_000, looks=6, quiet=True)
    assert outcome.lives >= 4_000 and len(outcome.looks) == 6
    assert not outcome.grown


def test_what_each_life_leaves_behind_is_seen() -> None:
    def seen(lives: int, left: int) -> Look:
        names = ("python blocks, worker", "objects, manager", "records in use", "entries")
        return Look(lives, dict.fromkeys(names, 1000 + lives * left))

    assert judge([seen(n, 0) for n in range(0, 40_000, 5_000)]) == []
    assert len(judge([seen(n, 1) for n in range(0, 40_000, 5_000)])) == 4
