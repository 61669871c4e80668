"""A small store with a snapshot file, and what the file holds for a store of its own. No test."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from library.storing import CONFIG
from ultrafast.config import Config
from ultrafast.core import Region, Table
from ultrafast.sizing import region_sizes
from ultrafast.store.persistence import Persistence
from ultrafast.store.reports import RestoreReport

__all__ = ["Kept", "keeping", "restored"]

_numbers = itertools.count()


class Kept:
    """A table, its snapshots, and what was said of them."""

    def __init__(self, table: Table, persistence: Persistence, events: list[tuple[str, Any]]):
        self.table = table
        self.persistence = persistence
        self.events = events

    def said(self, subject: str) -> list[Any]:
        return [payload for each, payload in self.events if each == subject]

    def content(self) -> dict[tuple[str, str], Any]:
        return {pair: self.table.get(*pair) for pair in list(self.table.keys())}


@contextmanager
def keeping(
    folder: Path,
    *,
    config: Config = CONFIG,
    size_max: int = 64 << 20,
    load: bool = True,
    name: str = "snapshot",
    clock: Callable[[], int] = time.time_ns,
) -> Iterator[Kept]:
    """A new region whose entries are kept in a file, restored from it."""
    events: list[tuple[str, Any]] = []
    with Region.create(folder / f"region-{next(_numbers)}", region_sizes(config)) as region:
        table = Table(region)
        persistence = Persistence(
            table,
            str(folder / name),
            interval_s=0.01,
            size_max=size_max,
            clock=clock,
            on_event=lambda subject, payload: events.append((subject, payload)),
        )
        try:
            persistence.restore(load=load)
            yield Kept(table, persistence, events)
        finally:
            persistence.stop()
            for each in folder.glob("region-*"):
                each.unlink()


def restored(
    folder: Path, *, name: str = "snapshot"
) -> tuple[dict[tuple[str, str], Any], RestoreReport]:
    """What a start finds in the file."""
    with keeping(folder, name=name) as kept:
        return kept.content(), kept.persistence.report
