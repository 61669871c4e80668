"""Agent records: finding, claiming, moving and freeing them, beside a dict of objects."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from types import SimpleNamespace

from ultrafast.core import Agents, Queues
from ultrafast.core._agents import (
    ACTIVE,
    BUILDING,
    DRAINING,
    FREE,
    NO_LIMIT,
    STARTING,
    STOPPED,
    WARM,
)

from ._measure import Rival, Times, reports, run_rivals
from ._places import region

_LIFE = """\
agent = new(kind, 0, 2, STARTING, NO_LIMIT, 0, 1)
move(agent, STARTING, ACTIVE)
move(agent, ACTIVE, DRAINING)
move(agent, DRAINING, STOPPED)
move(agent, STOPPED, FREE)
"""
_CLAIMED = """\
agent = new(kind, 0, 2, BUILDING, NO_LIMIT, 0, 1)
move(agent, BUILDING, WARM)
agent, worker = claim(kind, 2, 0, 1)
move(agent, STARTING, ACTIVE)
move(agent, ACTIVE, DRAINING)
move(agent, DRAINING, STOPPED)
move(agent, STOPPED, FREE)
"""
_OBJECT = """\
agent = next(ids)
agents[agent] = Record(kind=kind, worker=0, state=1)
agents[agent].state = 2
del agents[agent]
"""


@reports("ns", to_floor=True)
class Record:
    """`life` is a record's whole life in five calls, `claimed life` one of a warm agent in seven;
    `tally` is one pass over all records. All but ten `records` are in use by others.
    """

    params = (
        (
            "life",
            "claimed life",
            "route",
            "look",
            "handled",
            "tally",
            "life of an object in a dict",
        ),
        (1_000, 100_000),
    )
    param_names = ("call", "records")

    def setup_cache(self) -> dict[tuple[str, int], Times]:
        rivals: dict[tuple[str, int], Rival] = {}
        with ExitStack() as stack:
            for records in self.params[1]:
                agents = Agents(stack.enter_context(region(agents=records)))
                kind = agents.type("bench")
                for _ in range(records - 10):
                    used = agents.new(kind, 0, 2, STARTING, NO_LIMIT, 0, 1)
                    agents.move(used, STARTING, ACTIVE)
                for name, rival in _rivals(agents, kind, used).items():
                    rivals[name, records] = rival
            floor = Rival("noop(index)", {"noop": Queues(agents.region).noop, "index": 0})
            return run_rivals(rivals, floor=floor)


def _rivals(agents: Agents, kind: int, used: int) -> dict[str, Rival]:
    names = {
        "new": agents.new,
        "move": agents.move,
        "claim": agents.claim,
        "kind": kind,
        "NO_LIMIT": NO_LIMIT,
        "FREE": FREE,
        "BUILDING": BUILDING,
        "WARM": WARM,
        "STARTING": STARTING,
        "ACTIVE": ACTIVE,
        "DRAINING": DRAINING,
        "STOPPED": STOPPED,
    }
    things = {"ids": itertools.count(), "agents": {}, "Record": SimpleNamespace, "kind": kind}
    return {
        "life": Rival(_LIFE, names),
        "claimed life": Rival(_CLAIMED, names),
        "route": Rival("route(agent)", {"route": agents.route, "agent": used}),
        "look": Rival("look(agent)", {"look": agents.look, "agent": used}),
        "handled": Rival("handled(0, False, 1)", {"handled": agents.handled}),
        "tally": Rival("tally()", {"tally": agents.tally}),
        "life of an object in a dict": Rival(_OBJECT, things),
    }
