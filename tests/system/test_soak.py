"""The soak in short, and that it finds what is put in; the long form is `soak.py`."""

import asyncio
import random
from pathlib import Path

import pytest

from system.soaking.book import DeadLog, account
from system.soaking.ids import DIRECT, GROUP, QUEUE, WAYS, AcceptedLog, fault, number_of
from system.soaking.run import Settings, run
from system.soaking.trend import Bound, trend


@pytest.mark.timeout(140)
def test_nothing_is_lost_doubled_turned_round_or_leaked_under_fire(clean_shm: None) -> None:
    settings = Settings(
        seconds=8.0,
        seed=random.SystemRandom().randrange(1 << 32),
        saturation_s=1.5,
        share=0.25,  # whatever else runs on the machine that tests it
        kill_every_s=(0.5, 2.0),
    )
    report = asyncio.run(run(settings))
    assert report.passed, f"seed {settings.seed}: {report.violations}"
    assert sum(report.kills.values()) >= 3
    assert all(report.account.by_way.values()), report.account.by_way


@pytest.mark.timeout(140)
def test_seeded_leaks_are_found(clean_shm: None) -> None:
    settings = Settings(
        seconds=4.0,
        seed=1,
        saturation_s=1.0,
        kill_every_s=(),
        leaks=("memory", "blocks", "entries"),
    )
    report = asyncio.run(run(settings))
    assert not report.passed
    grown = {each.name for each in report.trends if not each.passed}
    assert "memory of a worker, MiB" in grown
    assert "message blocks besides those" in grown
    assert "entries of the store" in grown
    assert any("never came back" in violation for violation in report.violations)


def test_growth_is_told_from_peaks_and_noise() -> None:
    chance = random.Random(5)
    times = [float(n) for n in range(100)]
    flat = [100.0 + chance.uniform(-3, 3) + (500.0 if n % 9 == 0 else 0.0) for n in range(100)]
    rising = [value + 0.2 * n for n, value in enumerate(flat)]
    warming = [min(n, 20) * 50.0 + value for n, value in enumerate(flat)]
    bound = Bound(8.0, 0.01)
    assert trend("flat", times, flat, bound).passed
    assert trend("warming up", times, warming, Bound(8.0, 0.01)).passed
    leak = trend("rising", times, rising, bound)
    assert not leak.passed
    assert 10 < leak.growth < 20  # of three quarters of the time
    assert trend("falling", times, rising[::-1], bound).passed
    assert not trend("seldom sampled", times[:5], flat[:5], bound).passed
    assert not trend("never sampled", [], [], bound).passed


def _got(directory: Path, order: int, numbers: list[int]) -> None:
    data = b"".join(number.to_bytes(8, "little") for number in numbers)
    (directory / f"got-{order:06}").write_bytes(data)


def test_the_book_says_what_became_of_each(tmp_path: Path) -> None:
    directory = str(tmp_path)
    marked = 1 << 63
    m = [number_of(1, DIRECT, 2, 7, count) for count in range(8)]
    log = AcceptedLog(directory, 1)
    log.begin(0, 6)
    log.accepted(m[:6])
    log.begin(6, 8)  # and killed, before it wrote down what the bus said
    _got(tmp_path, 1, [m[0], m[1], m[2]])
    _got(tmp_path, 2, [m[2] | marked, m[4], m[3] | marked, m[6]])
    dead = DeadLog(directory)
    dead.add([(m[5], "expired", 0)])
    book = account(directory, WAYS)
    assert book.violations == []
    assert (book.accepted, book.unknown, book.delivered, book.dead) == (6, 1, 6, {"expired": 1})
    assert (book.redelivered, book.twice, book.by_way["to agents"]) == (2, 1, 7)
    assert (book.streams, book.ordered) == (1, 5)


def test_the_book_objects(tmp_path: Path) -> None:
    directory = str(tmp_path)
    m = [number_of(1, QUEUE, 0, 3, count) for count in range(9)]
    log = AcceptedLog(directory, 1)
    log.begin(9, 9)
    log.accepted(m[:7])
    AcceptedLog(directory, 2).begin(9, 9)
    published = number_of(2, GROUP, 1, 0, 4)
    # 0 is lost, 2 after 3, 4 twice without a mark, 7 refused; 6 both came and died, 5 died twice.
    _got(tmp_path, 1, [m[1], m[3], m[2], m[4], m[4], m[6], m[7], published])
    dead = DeadLog(directory)
    dead.add([(m[6], "rejected", 0), (m[5], "expired", 0), (m[5], "expired", 0)])
    dead.add([(m[8], "expired", 0)])
    fault(directory, "a thing that must not be")
    book = account(directory, WAYS)
    assert book.partly == 1  # one process had no room, and the group took it
    said = "\n".join(book.violations)
    for what in (
        "1 accepted and lost",
        "2 refused and delivered all the same",
        "1 delivered twice without a mark",
        "1 delivered and a dead letter as well",
        "1 twice a dead letter",
        "2 out of their sender's order",
        "a thing that must not be",
    ):
        assert what in said
    assert len(book.violations) == 7
