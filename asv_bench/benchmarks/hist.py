"""Counters and histograms: what recording costs, beside a dict that counts and a list."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from contextlib import ExitStack

from ultrafast.core import Metrics, Queues

from ._measure import Rival, Times, reports, run_rivals
from ._places import region

_MANY = 1_000
_LATENCY_NS = 123_456


@reports("ns", to_floor=True)
class Record:
    """`record_many` is per value, of 1,000 a call; `read` sums a histogram over 16 shards."""

    params = (
        "record",
        "record_many",
        "add",
        "read",
        "read_counter",
        "list.append",
        "Counter[name] += 1",
    )
    param_names = ("call",)

    def setup_cache(self) -> dict[tuple[str], Times]:
        with ExitStack() as stack:
            place = stack.enter_context(region(shards=16))
            metrics = Metrics(place)
            draw = random.Random(4)
            values = array("Q", (draw.randrange(100, 10_000_000) for _ in range(_MANY)))
            seen: list[int] = []
            rivals = {
                ("record",): Rival(
                    "record(hist, value)",
                    {"record": metrics.record, "hist": 3, "value": _LATENCY_NS},
                ),
                ("record_many",): Rival(
                    "record_many(hist, values)",
                    {"record_many": metrics.record_many, "hist": 3, "values": values},
                    per=_MANY,
                ),
                ("add",): Rival("add(counter)", {"add": metrics.add, "counter": 0}),
                ("read",): Rival("read(hist)", {"read": metrics.read, "hist": 3}),
                ("read_counter",): Rival(
                    "read(counter)", {"read": metrics.read_counter, "counter": 0}
                ),
                ("list.append",): Rival(
                    "append(value)",
                    {"append": seen.append, "value": _LATENCY_NS},
                    before=seen.clear,
                    runs=1_000,
                ),
                ("Counter[name] += 1",): Rival(
                    "counts[name] += 1", {"counts": Counter(), "name": "sent"}
                ),
            }
            floor = Rival("noop(index)", {"noop": Queues(place).noop, "index": 0})
            return run_rivals(rivals, floor=floor)
