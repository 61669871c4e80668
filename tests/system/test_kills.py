"""Processes killed under load; the long form is `kills.py` beside this file."""

import asyncio
import random

import pytest

from system.kills import run


@pytest.mark.timeout(300)
def test_accepted_messages_outlive_senders_workers_and_readers(clean_shm: None) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    report = asyncio.run(run(12, seed))
    assert report.kills == {"sender": 12, "worker": 12, "reader": 12}
    assert report.accepted > 100
    assert report.passed, f"seed {seed}: {report}"
