"""`StoreLookout`: the one who looks over the table for all who watch, in the manager.

Stands on the recorder of changes, the bus and the directory. While nobody watches it does nothing
and keeps nothing. Knows of an entry what a watcher is told, and not its value.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Set
from typing import Final

import msgspec

from ultrafast.bus.bus import UltraFastCommunicationBus
from ultrafast.bus.directory import WATCH
from ultrafast.bus.events import EnhancedEventBus, Event
from ultrafast.core import Changes, Table
from ultrafast.store.watch import ASKED, Told, subject_of

__all__ = ["StoreLookout"]

log = logging.getLogger(__name__)

INTERVAL_S: Final = 0.02
_SHARE: Final = 20  # a pass is followed by a pause of so many times its length
_BUCKETS_AT_ONCE = 4096
_CHANGES_AT_ONCE = 128
_CHARS_AT_ONCE = 16_000
_PUBLISH_S = 1.0
_SET, _DELETE, _EXPIRE = range(3)

_Name = tuple[str, str]
_Entry = tuple[str, str, int, int]  # namespace, key, version, expires_ns


class _Asked(msgspec.Struct, frozen=True):
    """Somebody who begins to watch; with `keys`, who wants to be told of these first."""

    namespace: str
    token: str
    keys: str | None = None


class _Known:
    """What was told of an entry."""

    __slots__ = ("expires_ns", "over", "place", "version")

    def __init__(self, place: int, version: int, expires_ns: int) -> None:
        self.place = place
        self.version = version
        self.expires_ns = expires_ns
        self.over = False  # that it expired was told


class StoreLookout:
    """Looks over the table and publishes what changed in the namespaces that somebody watches.

    Parameters
    ----------
    bus : UltraFastCommunicationBus
    events : EnhancedEventBus
    table : Table
    clock : callable
        Wall clock in nanoseconds.

    Notes
    -----
    A look begins 20 ms after the last one ended, or after 20 times as long as that one took. What
    happened to an entry between two looks is one change.
    """

    def __init__(
        self,
        bus: UltraFastCommunicationBus,
        events: EnhancedEventBus,
        table: Table,
        *,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._bus = bus
        self._events = events
        self._table = table
        self._clock = clock
        self._wake = asyncio.Event()
        self._asked: dict[str, _Asked] = {}
        self._changes: Changes | None = None
        self._wishes: dict[str, list[str]] = {}
        self._known: dict[_Name, _Known] = {}
        self._at: dict[int, _Name] = {}
        self._ends: list[tuple[int, str, str, int]] = []
        self._found: list[tuple[int, str, str, int]] = []
        self._numbers: dict[str, int] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        registration = self._events.on(ASKED, self._is_asked)
        if self._bus.directory.all(WATCH):  # they watched when an earlier manager was killed
            self._wake.set()
        try:
            while True:
                await self._wake.wait()
                try:
                    await self._while_watched()
                except Exception:  # whatever it was, watchers are not left without a look
                    log.exception("looking over the store failed; it begins anew")
                    await asyncio.sleep(1.0)
                self._forget()
        finally:
            self._events.off(registration)

    def _is_asked(self, event: Event) -> None:
        try:
            asked = msgspec.convert(event.payload, _Asked)
        except msgspec.ValidationError as error:
            log.warning("%s: %s", ASKED, error)
            return
        self._asked[asked.token] = asked
        self._wake.set()

    async def _while_watched(self) -> None:
        while True:
            begun = time.monotonic()
            self._wake.clear()
            asked, self._asked = self._asked, {}
            before, self._wishes = self._wishes, self._wanted()
            if not self._wishes:
                return
            self._let_go(before.keys() - self._wishes.keys())
            fresh = self._wishes.keys() - before.keys()
            if fresh:
                await self._learn(fresh)
            await self._look()
            self._expire()
            await self._tell()
            for each in asked.values():
                await self._answer(each)
            spent = time.monotonic() - begun
            try:
                async with asyncio.timeout(max(INTERVAL_S, _SHARE * spent)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    # --- who watches what

    def _wanted(self) -> dict[str, list[str]]:
        """What is watched, by namespace."""
        wanted: dict[str, list[str]] = {}
        for each in self._bus.directory.all(WATCH):
            try:
                space, wish = msgspec.json.decode(each.name, type=tuple[str, str])
            except msgspec.MsgspecError:
                continue  # a user wrote into our namespace
            wanted.setdefault(space, []).append(wish)
        return wanted

    def _let_go(self, spaces: Set[str]) -> None:
        """Nobody watches these any more."""
        if spaces:
            for name in [name for name in self._known if name[0] in spaces]:
                self._at.pop(self._known.pop(name).place, None)

    async def _learn(self, fresh: Set[str]) -> None:
        """Learn what is in namespaces that nobody watched yet.

        All is looked at anew, also what was watched before. Who was known, is not met and is not
        there is gone; who is there was written elsewhere meanwhile, which the next look tells.
        """
        self._changes = Changes(self._table)
        before = {name: known.place for name, known in self._known.items()}
        met: set[_Name] = set()
        async for place, entry in self._pass():
            if entry is not None and entry[0] in self._wishes:
                met.add(entry[:2])
            self._apply(place, entry, quiet=fresh)
        for name, place in before.items():
            stays = name in met or self._at.get(place) != name
            if not stays and self._table.get_entry(*name) is None:
                self._gone(place)

    def _forget(self) -> None:
        self._changes = None
        self._wishes, self._known, self._at = {}, {}, {}
        self._ends, self._found = [], []

    # --- a look

    async def _pass(self) -> AsyncIterator[tuple[int, _Entry | None]]:
        """What changed since the last pass, a slice of the table at a time."""
        assert self._changes is not None
        while (found := self._changes.look(1024, _BUCKETS_AT_ONCE)) is not None:
            for each in found:
                yield each
            await asyncio.sleep(0)

    async def _look(self) -> None:
        async for place, entry in self._pass():
            self._apply(place, entry, quiet=frozenset())

    def _apply(self, place: int, entry: _Entry | None, *, quiet: Set[str]) -> None:
        if entry is None:
            self._gone(place)
            return
        space, key, version, expires_ns = entry
        if self._at.get(place) != (space, key):
            self._gone(place)
        if space not in self._wishes:
            return
        known = self._known.get((space, key))
        if known is not None and known.version == version:
            self._moved(known, place, (space, key))
            return
        if known is not None and self._at.get(known.place) == (space, key):
            del self._at[known.place]
        self._known[space, key] = _Known(place, version, expires_ns)
        self._at[place] = space, key
        if expires_ns:
            heapq.heappush(self._ends, (expires_ns, space, key, version))
        if space not in quiet:
            self._found.append((_SET, space, key, version))

    def _moved(self, known: _Known, place: int, name: _Name) -> None:
        if self._at.get(known.place) == name:
            del self._at[known.place]
        known.place = place
        self._at[place] = name

    def _gone(self, place: int) -> None:
        """A place is empty, or another's."""
        name = self._at.pop(place, None)
        known = None if name is None else self._known.get(name)
        if name is None or known is None or known.place != place:
            return  # nobody watches it, or it was told at its new place
        del self._known[name]
        if not known.over:
            over = known.expires_ns != 0 and self._clock() >= known.expires_ns
            self._found.append((_EXPIRE if over else _DELETE, *name, known.version))

    def _expire(self) -> None:
        """Take note of those whose time is over: their places are emptied some time later."""
        now = self._clock()
        ends = self._ends
        while ends and ends[0][0] <= now:
            _, space, key, version = heapq.heappop(ends)
            known = self._known.get((space, key))
            if known is not None and known.version == version and not known.over:
                known.over = True
                self._found.append((_EXPIRE, space, key, version))
        if len(ends) > 2 * len(self._known) + 1000:  # of entries that were written again since
            self._ends = [
                (known.expires_ns, *name, known.version)
                for name, known in self._known.items()
                if known.expires_ns and not known.over
            ]
            heapq.heapify(self._ends)

    # --- telling

    async def _tell(self) -> None:
        found, self._found = self._found, []
        by_space: dict[str, list[tuple[int, str, int]]] = {}
        for kind, space, key, version in found:
            if any(_wants(wish, key) for wish in self._wishes.get(space, ())):
                by_space.setdefault(space, []).append((kind, key, version))
        for space, changes in by_space.items():
            for some in _portions(changes):
                await self._publish(space, some, [])

    async def _answer(self, asked: _Asked) -> None:
        """Say that from here on it is told, and first, if it is wanted, what there is."""
        wish = asked.keys
        if wish is not None:
            there = [
                (_SET, key, known.version)
                for (space, key), known in self._known.items()
                if space == asked.namespace and not known.over and _wants(wish, key)
            ]
            for some in _portions(there):
                await self._publish(asked.namespace, some, [asked.token])
        await self._publish(asked.namespace, [], [asked.token])

    async def _publish(
        self, space: str, changes: list[tuple[int, str, int]], answers: list[str]
    ) -> None:
        self._numbers[space] = self._numbers.get(space, 0) + 1
        told = Told(space, self._numbers[space], answers, changes)
        if not await self._bus.publish(subject_of(space), told, timeout_s=_PUBLISH_S):
            log.warning("changes in %r found the queue of a process full", space)


def _wants(wish: str, key: str) -> bool:
    return key == wish[1:] if wish[:1] == "=" else key.startswith(wish[1:])


def _portions(changes: list[tuple[int, str, int]]) -> Iterator[list[tuple[int, str, int]]]:
    """As many as go into one message."""
    some: list[tuple[int, str, int]] = []
    chars = 0
    for each in changes:
        if some and (len(some) >= _CHANGES_AT_ONCE or chars + len(each[1]) > _CHARS_AT_ONCE):
            yield some
            some, chars = [], 0
        some.append(each)
        chars += len(each[1])
    if some:
        yield some
