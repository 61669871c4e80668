"""`UltraFastMemoryStore`: get and set of what users keep, beside a dict and a manager's dict.

A dict is one process's; `multiprocessing.Manager().dict()` is shared, as the store is.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from ultrafast.core import Queues, Table
from ultrafast.store import UltraFastMemoryStore

from ._measure import Rival, Times, reports, run_rivals
from ._places import SPAWN, region

_SIZES = {"buckets": 4_096, "value_blocks": ((256, 8_192), (2_112, 1_024), (8_384, 256))}
_VALUES: dict[str, Any] = {
    "bytes of 64": bytes(range(64)),
    "str of 1,000": "x" * 1_000,
    "int": 123_456,
    "dict of 4": {"text": "a note", "score": 0.5, "tags": ["a", "b"], "count": 3},
}


@reports("ns", to_floor=True)
class GetAndSet:
    """One key, written and read again and again by one process."""

    params = (
        (
            "store get",
            "store set",
            "store update",
            "dict get",
            "dict set",
            "Manager().dict() get",
            "Manager().dict() set",
        ),
        tuple(_VALUES),
    )
    param_names = ("call", "value")

    def setup_cache(self) -> dict[tuple[str, str], Times]:
        rivals: dict[tuple[str, str], Rival] = {}
        with ExitStack() as stack:
            place = stack.enter_context(region(**_SIZES))
            store = UltraFastMemoryStore(Table(place))
            shared = stack.enter_context(SPAWN.Manager()).dict()
            plain: dict[str, Any] = {}
            for name, value in _VALUES.items():
                store.set("bench", name, value)
                shared[name] = plain[name] = value
                ours = {"space": "bench", "key": name, "value": value}
                get, put = "get(key)", "put(key, value)"
                for call, rival in {
                    "store get": Rival("get(space, key)", {**ours, "get": store.get}),
                    "store set": Rival("put(space, key, value)", {**ours, "put": store.set}),
                    "store update": Rival(
                        "update(space, key, change)",
                        {**ours, "update": store.update, "change": lambda value: value},
                    ),
                    "dict get": Rival(get, {**ours, "get": plain.get}),
                    "dict set": Rival(put, {**ours, "put": plain.__setitem__}),
                    "Manager().dict() get": Rival(get, {**ours, "get": shared.get}),
                    "Manager().dict() set": Rival(put, {**ours, "put": shared.__setitem__}),
                }.items():
                    rivals[call, name] = rival
            floor = Rival("noop(index)", {"noop": Queues(place).noop, "index": 0})
            return run_rivals(rivals, floor=floor)
