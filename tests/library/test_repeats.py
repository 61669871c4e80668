"""`Repeats`: how often a message that came again is begun, over the deaths of its hosts."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from library.endpoints import House, house
from ultrafast.agents.hosting.hosted import Repeats
from ultrafast.bus.wire import Reason


@pytest.fixture
def here(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path / "ultrafast-r") as made:
        yield made


def message(number: int = 7, attempt: int = 1) -> Any:
    """As much of a message as is looked at."""
    return SimpleNamespace(correlation=number, attempt=attempt)


def test_it_is_begun_as_often_as_the_limit_says_whoever_begins_it(here: House) -> None:
    hosts = [Repeats(here.endpoint(f"host {n}").table, 3) for n in range(3)]
    for host in hosts:
        assert host.begin(message(), "coder") is None
        assert host.begin(message(8), "coder") is None  # each has its own count
    for _ in range(2):  # and once it is poisonous the count is forgotten: it is a letter now
        assert hosts[0].begin(message(), "coder") == Reason.POISONOUS
        for host in hosts:
            assert host.begin(message(), "coder") is None


def test_what_was_handled_begins_anew(here: House) -> None:
    endpoint = here.endpoint("host")
    repeats = Repeats(endpoint.table, 1)
    before = endpoint.table.count()
    for _ in range(5):
        assert repeats.begin(message(), "coder") is None
        repeats.end(message())
    repeats.end(message())  # of one that was never begun
    assert endpoint.table.count() == before


def test_types_have_limits_of_their_own(here: House) -> None:
    repeats = Repeats(here.endpoint("host").table, 2)
    repeats.set_limit("never", 0)
    repeats.set_limit("once", 1)
    repeats.set_limit("usual", None)
    assert repeats.begin(message(1), "never") == Reason.NOT_REPEATED
    for name, times in (("once", 1), ("usual", 2), ("of no one", 2)):
        number = hash(name) & 0xFFFF
        answers = [repeats.begin(message(number), name) for _ in range(times + 1)]
        assert answers == [None] * times + [Reason.POISONOUS]


def test_somebody_elses_value_under_its_key_counts_as_none(here: House) -> None:
    table = here.endpoint("host").table
    table.set("ultrafast.bus", "begun-7", "a text")
    repeats = Repeats(table, 1)
    assert repeats.begin(message(), "coder") is None
    assert repeats.begin(message(), "coder") == Reason.POISONOUS


def test_where_nothing_can_be_counted_the_deaths_in_its_head_count(here: House) -> None:
    table = here.endpoint("host").table
    for number in range(10_000):
        if not table.set("full", str(number), b"x" * 100):
            break
    assert not table.set("ultrafast.bus", "begun-7", 1)
    repeats = Repeats(table, 2)
    assert [repeats.begin(message(7, attempt), "coder") for attempt in (1, 2, 3)] == [
        None,
        None,
        Reason.POISONOUS,
    ]
