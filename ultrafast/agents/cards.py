"""`Cards`: what is known of some agents beyond their records: names, groups, watchers, links.

Stands on the shared table, so that every process knows it and it outlives whoever wrote it. Only
agents that use one of these have a card. It decides nothing about agents and sends nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from ultrafast.core import Agents, Table
from ultrafast.core._agents import TAKING
from ultrafast.core._status import BUSY, EXISTS, MISSING, OK
from ultrafast.errors import AgentGone, Contended, InvalidArgument, NameTaken, StoreFull

__all__ = ["Card", "Cards"]

# Not in snapshots: ids are those of this region.
_SPACE: Final = "ultrafast.bus"
_TRIES: Final = 10_000
# A group's members are kept in so many entries, so that many may join and leave at a time.
_SHARDS: Final = 16
_NAME_BYTES_MAX: Final = 200


class Card(msgspec.Struct, array_like=True):
    """What is known of an agent.

    Attributes
    ----------
    name : str
        "" is none.
    groups : list of str
    watchers : list of (queue, token)
        Whom to tell of its end.
    links : list of int
        Agents that fail when it does.
    """

    name: str = ""
    groups: list[str] = []
    watchers: list[tuple[int, int]] = []
    links: list[int] = []

    @property
    def is_blank(self) -> bool:
        """Whether nothing is known."""
        return not (self.name or self.groups or self.watchers or self.links)


class Cards:
    """The cards, names and groups of a system.

    Parameters
    ----------
    table : Table
    agents : Agents
    """

    def __init__(self, table: Table, agents: Agents) -> None:
        self._table = table
        self._agents = agents

    def lives(self, agent_id: int) -> bool:
        """Whether an agent takes messages."""
        info = self._agents.look(agent_id)
        return info is not None and info.state in TAKING

    # --- cards

    def read(self, agent_id: int) -> Card | None:
        """The card of an agent."""
        data = self._table.get(_SPACE, f"card-{agent_id:x}")
        return _card(data) if isinstance(data, bytes) else None

    def update(self, agent_id: int, change: Callable[[Card], None]) -> None:
        """Change a card by one compare-and-set; an agent without one gets it.

        Raises
        ------
        StoreFull
            There is no room for it in the store.
        """

        def changed(before: bytes | None) -> bytes | None:
            card = (_card(before) if before is not None else None) or Card()
            change(card)
            return None if card.is_blank else msgspec.msgpack.encode(card)

        self._change(f"card-{agent_id:x}", changed)

    def drop(self, agent_id: int) -> Card | None:
        """Forget an agent that has ended: its name is free, its groups are without it.

        Returns
        -------
        Card or None
            What was known of it.
        """
        card = self.read(agent_id)
        if card is None:
            return None
        self._table.delete(_SPACE, f"card-{agent_id:x}")
        if card.name:
            entry = self._table.get_entry(_SPACE, f"name-{card.name}")
            if entry is not None and entry.value == agent_id:
                self._table.delete(_SPACE, f"name-{card.name}", entry.stamp)
        for group in card.groups:
            self._leave(group, agent_id)
        return card

    def link(self, one: int, other: int) -> None:
        """Have each of two living agents fail when the other does; `AgentGone` if one is gone."""
        for each in (one, other):
            if not self.lives(each):
                raise AgentGone(f"agent {each:#x} can't be linked: it does not live")
        self.update(one, lambda card: _add(card.links, other))
        self.update(other, lambda card: _add(card.links, one))

    def unlink(self, one: int, other: int) -> None:
        """The opposite, on one side; nothing if they are not linked."""
        if (card := self.read(one)) is not None and other in card.links:
            self.update(one, lambda card: _remove(card.links, other))

    # --- names

    def claim(self, name: str, agent_id: int) -> None:
        """Give a name to an agent.

        Raises
        ------
        InvalidArgument
            It is no text of 1 to 200 bytes.
        NameTaken
            A living agent has it.
        StoreFull
            There is no room to write it down.
        """
        key = f"name-{_checked(name, 'name')}"
        for _ in range(_TRIES):
            entry = self._table.get_entry(_SPACE, key)
            if entry is not None and isinstance(entry.value, int) and self.lives(entry.value):
                raise NameTaken(
                    f"the name {name!r} is agent {entry.value:#x}'s: look it up, or terminate it"
                )
            stamp = 0 if entry is None else entry.stamp
            status, _ = self._table.compare_and_set(_SPACE, key, agent_id, stamp)
            if status == OK:
                self.update(agent_id, lambda card: setattr(card, "name", name))
                return
            if status not in (BUSY, EXISTS, MISSING):
                raise StoreFull(f"no room in the store for the name {name!r} of an agent")
        raise Contended(f"the name {name!r} was fought for; try again")

    def lookup(self, name: str) -> int | None:
        """The living agent with a name."""
        found = self._table.get(_SPACE, f"name-{name}")
        return found if isinstance(found, int) and self.lives(found) else None

    # --- groups

    def join(self, group: str, agent_id: int) -> None:
        """Make an agent a member; `AgentGone` if it does not live."""
        _checked(group, "group")
        if not self.lives(agent_id):
            raise AgentGone(f"agent {agent_id:#x} can't join {group!r}: it does not live")
        self.update(agent_id, lambda card: _add(card.groups, group))
        self._change(_shard(group, agent_id), lambda before: _packed(before, agent_id, True))

    def leave(self, group: str, agent_id: int) -> None:
        """Make an agent a member no more."""
        self._leave(group, agent_id)
        if self.read(agent_id) is not None:
            self.update(agent_id, lambda card: _remove(card.groups, group))

    def members(self, group: str) -> list[int]:
        """The living members of a group, in no order that means something."""
        found: list[int] = []
        for shard in range(_SHARDS):
            data = self._table.get(_SPACE, f"group-{shard:x}-{group}")
            if isinstance(data, bytes) and len(data) % 8 == 0:
                found += filter(self.lives, array("Q", data))
        return found

    def _leave(self, group: str, agent_id: int) -> None:
        self._change(_shard(group, agent_id), lambda before: _packed(before, agent_id, False))

    def _change(self, key: str, change: Callable[[bytes | None], bytes | None]) -> None:
        for _ in range(_TRIES):
            entry = self._table.get_entry(_SPACE, key)
            before = entry.value if entry is not None else None
            after = change(before if isinstance(before, bytes) else None)
            if after == before:
                return
            if after is None:
                assert entry is not None
                if self._table.delete(_SPACE, key, entry.stamp):
                    return
                continue
            stamp = 0 if entry is None else entry.stamp
            status, _ = self._table.compare_and_set(_SPACE, key, after, stamp)
            if status == OK:
                return
            if status not in (BUSY, EXISTS, MISSING):
                raise StoreFull(
                    f"no room in the store for {key!r}, {len(after):,} bytes about agents: delete "
                    "entries, or raise Config(memory_store_size=...)"
                )
        raise Contended(f"{key!r} was fought for by many; try again")


def _card(data: bytes) -> Card | None:
    try:
        return msgspec.msgpack.decode(data, type=Card)
    except msgspec.MsgspecError:
        return None  # somebody wrote into our namespace


def _checked(text: str, what: str) -> str:
    if not isinstance(text, str) or not 0 < len(text.encode()) <= _NAME_BYTES_MAX:
        raise InvalidArgument(f"{what} {text!r} must be 1 to {_NAME_BYTES_MAX} bytes of text")
    return text


def _add(values: list[Any], value: Any) -> None:
    if value not in values:
        values.append(value)


def _remove(values: list[Any], value: Any) -> None:
    if value in values:
        values.remove(value)


def _shard(group: str, agent_id: int) -> str:
    return f"group-{agent_id % _SHARDS:x}-{group}"


def _packed(before: bytes | None, agent_id: int, member: bool) -> bytes | None:
    whole = before if before is not None and len(before) % 8 == 0 else b""
    ids: Iterable[int] = (each for each in array("Q", whole) if each != agent_id)
    after = array("Q", ids)
    if member:
        after.append(agent_id)
    return after.tobytes() or None
