"""`Directory`: what the processes of a system want to be given, as every process can read it.

Stands on the shared table: each process writes one entry of its own, and changes a word that tells
the others to read again. An entry whose process has died is not believed. It sends nothing.
"""

from __future__ import annotations

import logging
import random
from typing import Final

import msgspec

from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.topics import TopicMatcher
from ultrafast.core._region import PHASE_LIVE
from ultrafast.errors import StoreFull

__all__ = ["EVENT", "GROUP", "WATCH", "Directory", "Interest"]

log = logging.getLogger(__name__)

GROUP: Final = 0
EVENT: Final = 1
WATCH: Final = 2

_SPACE: Final = "ultrafast.bus"
_CHANGED: Final = "changed"


class Interest(msgspec.Struct, frozen=True, array_like=True):
    """One process's wish for what falls under a pattern.

    Attributes
    ----------
    kind : int
        GROUP: as a member of a queue group. EVENT: for its event bus. WATCH: for what changes in
        the store, under a subject that stands for a namespace.
    name : str
        The group's; of a watch, what it watches.
    pattern : str
    queue : int
        Where to put it.
    limit : int
        When so many wait there it takes no more; 0 is the queue's own limit.
    opening : int
        Tells the queue from another that has its place later; 0: not asked for.
    """

    kind: int
    name: str
    pattern: str
    queue: int
    limit: int = 0
    opening: int = 0


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    incarnation: int
    interests: list[Interest]


class Directory:
    """The interests of every process.

    Parameters
    ----------
    endpoint : Endpoint
        This process's; its interests end with it.

    Notes
    -----
    Threads: the loop's. Waits: never. Cost of a look: one read of the table, unless something
    changed since the last one.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._region = endpoint.region
        self._table = endpoint.table
        self._slot = str(endpoint.region.slot)
        self._incarnation = endpoint.region.owner(endpoint.region.slot).incarnation
        self._own: list[Interest] = []
        self._seen: object = None
        self._known: dict[int, TopicMatcher[tuple[int, Interest]]] = {}
        self._all: dict[int, list[Interest]] = {}
        self._queues: set[int] = set()
        endpoint.at_stop(self._leave)

    def announce(self, interest: Interest) -> None:
        """Tell the others; what they send after this returns, they send with it in mind.

        Raises
        ------
        StoreFull
            There is no room to write it down, and nobody was told.
        """
        self._own.append(interest)
        if not self._write():
            self._own.remove(interest)
            self._write()
            raise StoreFull(
                f"no room in the store to tell other processes of the pattern {interest.pattern!r} "
                "that is wanted here: delete entries, or raise Config(memory_store_size=...)"
            )

    def withdraw(self, interest: Interest) -> None:
        """The opposite of `announce`. Without room to say so it is said with the next change."""
        self._own.remove(interest)
        if not self._write():
            log.warning("no room in the store to say that %r is wanted no more", interest.pattern)

    def matching(self, kind: int, subject: str) -> list[Interest]:
        """The interests of a kind that a subject falls under."""
        self._refresh()
        matcher = self._known.get(kind)
        return [] if matcher is None else [each for _, each in matcher.match(subject)]

    def all(self, kind: int) -> list[Interest]:
        """The interests of a kind."""
        self._refresh()
        return self._all.get(kind, [])

    def queues(self) -> set[int]:
        """Every queue that somebody alive empties as a member of a group."""
        self._seen = None
        self._refresh()
        return self._queues

    def forget_dead(self) -> None:
        """Remove the entries of dead processes, for whoever keeps the system tidy."""
        gone = [
            str(owner.slot)
            for owner in self._region.owners()
            if (entry := self._entry(str(owner.slot))) is not None
            and (owner.phase != PHASE_LIVE or entry.incarnation != owner.incarnation)
        ]
        for slot in gone:
            self._table.delete(_SPACE, slot)
        if gone:
            self._say()

    def forget(self, slot: int, incarnation: int) -> None:
        """Remove what a dead process wanted, whose slot is mended and may be another's by now."""
        entry = self._table.get_entry(_SPACE, str(slot))
        known = self._entry(str(slot))
        if entry is None or known is None or known.incarnation != incarnation:
            return
        if self._table.delete(_SPACE, str(slot), entry.stamp):
            self._say()

    # --- inside

    def _write(self) -> bool:
        """Write our entry and have it read: False when there was no room for one of the two."""
        data = msgspec.msgpack.encode(_Entry(self._incarnation, self._own))
        return self._table.set(_SPACE, self._slot, data) and self._say()

    def _leave(self) -> None:
        if self._own:
            self._own = []
            self._table.delete(_SPACE, self._slot)
            self._say()

    def _say(self) -> bool:
        return self._table.set(_SPACE, _CHANGED, random.getrandbits(62))

    def _entry(self, slot: str) -> _Entry | None:
        data = self._table.get(_SPACE, slot)
        if not isinstance(data, bytes):
            return None
        try:
            return msgspec.msgpack.decode(data, type=_Entry)
        except msgspec.MsgspecError:
            return None  # a user wrote into our namespace

    def _refresh(self) -> None:
        changed = self._table.get(_SPACE, _CHANGED)
        if changed == self._seen:
            return
        self._seen = changed
        known: dict[int, TopicMatcher[tuple[int, Interest]]] = {}
        everything: dict[int, list[Interest]] = {}
        queues = set()
        for owner in self._region.owners():
            if owner.phase != PHASE_LIVE:
                continue
            entry = self._entry(str(owner.slot))
            if entry is None or entry.incarnation != owner.incarnation:
                continue
            for number, interest in enumerate(entry.interests):
                # A process may be a member twice; the number keeps the two apart.
                place = owner.slot << 32 | number
                everything.setdefault(interest.kind, []).append(interest)
                matcher = known.setdefault(interest.kind, TopicMatcher())
                matcher.add(interest.pattern, (place, interest))
                if interest.kind == GROUP:
                    queues.add(interest.queue)
        self._known, self._all, self._queues = known, everything, queues
