"""The table: reads, writes and misses of 64-byte values, beside a dict.

A dict is one process's and hands out references; the table is every process's and copies.
"""

from __future__ import annotations

import random
from contextlib import ExitStack
from itertools import cycle
from typing import Any

from ultrafast.core import Queues, Table

from ._measure import Rival, Times, reports, run_rivals
from ._places import region

_SPACE = "bench"
_VALUE = bytes(range(64))
_FRESH = 256
_HELD = {"buckets": 65_536, "extensions": 8_192, "value_blocks": ((256, 131_072),)}


def _keys(count: int) -> list[str]:
    return [f"key-{number:07d}" for number in range(count)]


def _filled(stack: ExitStack, count: int) -> tuple[Table, dict[tuple[str, str], bytes]]:
    table = Table(stack.enter_context(region(**_HELD)))
    plain: dict[tuple[str, str], bytes] = {}
    for key in _keys(count):
        table.set(_SPACE, key, _VALUE)
        plain[_SPACE, key] = _VALUE
    return table, plain


@reports("ns", to_floor=True)
class Read:
    """Reads. `hot` is one key again and again, `random` another one of all each time.

    `random` includes the step of the iterator that names the key, for every rival.
    """

    params = (
        ("table hot", "table miss", "table random", "dict hot", "dict miss", "dict random"),
        (1_000, 100_000),
    )
    param_names = ("read", "entries")

    def setup_cache(self) -> dict[tuple[str, int], Times]:
        rivals: dict[tuple[str, int], Rival] = {}
        with ExitStack() as stack:
            for entries in self.params[1]:
                table, plain = _filled(stack, entries)
                order = _keys(entries)
                random.Random(2).shuffle(order)
                for name, rival in _reads(table, plain, order).items():
                    rivals[name, entries] = rival
            floor = Rival("noop(index)", {"noop": Queues(table.region).noop, "index": 0})
            return run_rivals(rivals, floor=floor)


def _reads(table: Table, plain: dict[tuple[str, str], bytes], order: list[str]) -> dict[str, Rival]:
    mine: dict[str, Any] = {"get": table.get, "space": _SPACE, "step": cycle(order).__next__}
    theirs: dict[str, Any] = {"get": plain.get, "space": _SPACE, "step": cycle(order).__next__}
    found = {}
    for who, names, call in (
        ("table", mine, "get(space, {})"),
        ("dict", theirs, "get((space, {}))"),
    ):
        found[f"{who} hot"] = Rival(call.format("key"), {**names, "key": order[0]})
        found[f"{who} miss"] = Rival(call.format("key"), {**names, "key": "no such key"})
        found[f"{who} random"] = Rival(call.format("step()"), names)
    return found


@reports("ns", to_floor=True)
class Write:
    """Writes of 64 bytes: over a key's value, of new keys, and their deletion."""

    params = (
        (
            "table overwrite",
            "table overwrite random",
            "table insert",
            "table delete",
            "dict overwrite",
            "dict insert",
            "dict delete",
        ),
        (1_000, 100_000),
    )
    param_names = ("write", "entries")

    def setup_cache(self) -> dict[tuple[str, int], Times]:
        rivals: dict[tuple[str, int], Rival] = {}
        with ExitStack() as stack:
            for entries in self.params[1]:
                table, plain = _filled(stack, entries)
                for name, rival in _writes(table, plain, _keys(entries)).items():
                    rivals[name, entries] = rival
            floor = Rival("noop(index)", {"noop": Queues(table.region).noop, "index": 0})
            return run_rivals(rivals, floor=floor)


def _writes(table: Table, plain: dict[tuple[str, str], bytes], keys: list[str]) -> dict[str, Rival]:
    fresh = [f"new-{number:07d}" for number in range(_FRESH)]
    random.Random(3).shuffle(keys)

    def without() -> None:
        for key in fresh:
            table.delete(_SPACE, key)
            plain.pop((_SPACE, key), None)

    def within() -> None:
        for key in fresh:
            table.set(_SPACE, key, _VALUE)
            plain[_SPACE, key] = _VALUE

    def names(**more: Any) -> dict[str, Any]:
        return {"space": _SPACE, "value": _VALUE, "step": cycle(fresh).__next__, **more}

    mine, theirs = names(set=table.set, delete=table.delete), names(plain=plain)
    return {
        "table overwrite": Rival("set(space, key, value)", {**mine, "key": keys[0]}),
        "table overwrite random": Rival(
            "set(space, step(), value)", {**mine, "step": cycle(keys).__next__}
        ),
        "table insert": Rival("set(space, step(), value)", mine, before=without, runs=_FRESH),
        "table delete": Rival("delete(space, step())", mine, before=within, runs=_FRESH),
        "dict overwrite": Rival("plain[space, key] = value", {**theirs, "key": keys[0]}),
        "dict insert": Rival("plain[space, step()] = value", theirs, before=without, runs=_FRESH),
        "dict delete": Rival("del plain[space, step()]", theirs, before=within, runs=_FRESH),
    }
