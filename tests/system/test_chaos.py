"""The chaos run in short, and that it finds what is put in; the long form is `chaos.py`."""

import asyncio
import random
from pathlib import Path

import pytest

from system.raging.book import ASKED, COUNT_BITS, Log, account
from system.raging.run import Settings, run


@pytest.mark.timeout(140)
def test_nothing_is_lost_and_every_agent_is_as_its_policy_says(clean_shm: None) -> None:
    settings = Settings(
        seconds=8.0,
        seed=random.SystemRandom().randrange(1 << 32),
        agents=400,
        workers=3,
        rate=300.0,
        kill_every_s=(1.0, 2.0),
    )
    report = asyncio.run(run(settings))
    assert report.passed, f"seed {settings.seed}: {report.violations}"
    assert report.kills >= 2 and report.terminated > 0 and report.ended > 0


@pytest.mark.timeout(140)
def test_messages_that_agents_forget_are_missed(clean_shm: None) -> None:
    settings = Settings(
        seconds=3.0, seed=1, agents=60, workers=2, rate=1_000.0, kill_every_s=(1, 2), forgets=True
    )
    report = asyncio.run(run(settings))
    assert any("accepted and lost" in each for each in report.violations), report.violations


def test_the_book_objects(tmp_path: Path) -> None:
    directory, marked = str(tmp_path), 1 << 63
    other, asked = 3 << COUNT_BITS, ASKED << COUNT_BITS
    Log(directory, "sent", 0).add(0, 1, 2, 3)
    Log(directory, "sent", 3).add(other)
    good = Log(directory, "got", 3)
    good.add(0, 1, 1 | marked, other, other | 1, asked, asked | 1)
    Log(directory, "dead", 0).add(2, 3, 3 | marked)
    book = account(directory)
    assert book.violations == []
    assert (book.accepted, book.delivered, book.redelivered, book.dead) == (5, 6, 1, 2)
    assert (book.twice, book.in_doubt) == (1, 1)
    Log(directory, "sent", 0).add(4)
    Log(directory, "dead", 0).add(3)
    good.add(0, 9, other | 2)
    said = "\n".join(account(directory).violations)
    for what in (
        "1 accepted and lost, as 0x4",
        "1 handled twice without a mark, as 0x0",
        "1 twice a dead letter without a mark, as 0x3",
        "1 streams with more than one message that nobody accepted, as 0x3",
        "1 never accepted by the manager's bus, as 0x9",
    ):
        assert what in said
