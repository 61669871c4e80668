"""Agents: ultrafast beside what is used for actors, in Python and not.

`run` measures every scenario of `scenarios` on every contestant that is installed. What each does
is in its `how`; `docs/benchmarks.md` says what is measured and what the figures do not show.
"""

from __future__ import annotations

from functools import partial

from ..contest import Contest
from ..options import Options
from ..report import Report, block_of
from ..rounds import alternate
from .autogen import AutogenCore
from .erlang import Erlang
from .ours import Beside, Managed, OneLoop, Spawning
from .rayactors import RayActors
from .scenarios import SCENARIOS, Pace, Scenario, agents_in, take_turn
from .stage import Contestant
from .tasks import AsyncioTasks
from .threads import Pykka

__all__ = ["CONTESTANTS", "NAMES", "OURS", "SCENARIO_KEYS", "run"]

CONTESTANTS: tuple[type[Contestant], ...] = (
    Spawning,
    Managed,
    OneLoop,
    Beside,
    AsyncioTasks,
    Erlang,
    Pykka,
    AutogenCore,
    RayActors,
)
NAMES = tuple(each.name for each in CONTESTANTS)
OURS = tuple(each.name for each in CONTESTANTS if each.ours)
SCENARIO_KEYS = tuple(each.key for each in SCENARIOS)

_FULL = Pace(turn_s=1.0, agents_max=1_000_000, limit_s=300.0)
_QUICK = Pace(turn_s=0.2, agents_max=20, limit_s=60.0)


def run(options: Options) -> Report:
    """Measure, and report.

    Parameters
    ----------
    options : Options
        `only` keeps those names, and ultrafast's own.

    Returns
    -------
    Report
    """
    contest = Contest("agents", CONTESTANTS, options)
    pace = _QUICK if options.quick else _FULL
    wanted = options.rounds or 1
    blocks = []
    for scenario in SCENARIOS:
        if scenario.asked_for if not options.scenarios else scenario.key not in options.scenarios:
            continue
        options.say(scenario.title)
        taking = [each for each in contest.present if scenario.key in each.does]
        outcome = alternate(
            {each.name: partial(take_turn, each, scenario, pace) for each in taking},
            wanted,
            # Every contestant of every scenario has a process of its own: to repeat what others
            # disturbed takes minutes, and is done where rounds were asked for.
            repeat=options.rounds > 0 and not options.quick,
            said=options.say,
        )
        blocks.append(
            block_of(
                scenario.key,
                _title(scenario, pace),
                scenario.unit,
                outcome,
                ours=OURS,
                notes=_notes(scenario, taking, pace),
            )
        )
    return contest.report(blocks)


def _title(scenario: Scenario, pace: Pace) -> str:
    if scenario.kind in ("trips", "counting"):
        return scenario.title
    return f"{scenario.title}, N = {min(scenario.agents, pace.agents_max):,}"


def _notes(scenario: Scenario, taking: list[type[Contestant]], pace: Pace) -> dict[str, str]:
    found = {each.name: agents_in(scenario, each, pace) for each in taking}
    asked = min(scenario.agents, pace.agents_max)
    return {name: f"N = {agents:,}" for name, agents in found.items() if agents != asked}
