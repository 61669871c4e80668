"""A small region for every test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from doors.small import SMALL
from ultrafast.core import Queues, Receiver, Region, Table

__all__: list[str] = []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ultrafast-test"


@pytest.fixture
def region(path: Path) -> Iterator[Region]:
    with Region.create(path, SMALL, b"settings") as region:
        yield region


@pytest.fixture
def queues(region: Region) -> Queues:
    return Queues(region)


@pytest.fixture
def receiver(queues: Queues) -> Receiver:
    return Receiver(queues, queues.open("inbox"))


@pytest.fixture
def table(region: Region) -> Table:
    return Table(region)
