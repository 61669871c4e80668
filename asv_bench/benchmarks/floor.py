"""The floor: what a call costs that does nothing, through a door and in Python.

Everything else through a door includes this much. The ratios elsewhere are to `noop(int)`.
"""

from __future__ import annotations

from ultrafast.core import Queues, Table

from ._measure import Rival, Times, reports, run_rivals
from ._places import region


def nothing(value: int) -> None:
    """An empty Python function."""


@reports("ns", to_floor=True)
class EmptyCall:
    """`noop(int)` is a door's cheapest call; `noop(str, str)` has the arguments of `get`."""

    params = ("door noop(int)", "door noop(str, str)", "Python function(int)", "len([])")
    param_names = ("call",)

    def setup_cache(self) -> dict[tuple[str], Times]:
        with region() as place:
            queues, table = Queues(place), Table(place)
            rivals = {
                ("door noop(int)",): Rival("noop(queue)", {"noop": queues.noop, "queue": 0}),
                ("door noop(str, str)",): Rival(
                    "noop(space, key)", {"noop": table.noop, "space": "bench", "key": "key"}
                ),
                ("Python function(int)",): Rival(
                    "nothing(queue)", {"nothing": nothing, "queue": 0}
                ),
                ("len([])",): Rival("len(empty)", {"empty": []}),
            }
            return run_rivals(rivals, floor=rivals[("door noop(int)",)])
