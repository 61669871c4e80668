"""Messages between processes: ultrafast beside what Python users pick for that.

`run` measures every scenario of `scenarios` on every contestant that is installed. What each does
is in its `how`; `docs/benchmarks.md` says what is measured and what the figures do not show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from ..contest import Contest
from ..options import Options
from ..report import Block, Report, block_of
from ..rounds import Outcome, Turn, alternate, watched
from ..teams import TeamFailed
from .ends import Contestant
from .iceoryx import Iceoryx
from .others import FasterFifo, ZeroMQ
from .ours import NamedQueues, SharedQueue
from .scenarios import SCENARIOS, Pace, Scenario, Team, team
from .standard import BareSockets, StandardPipe, StandardQueue

__all__ = ["CONTESTANTS", "NAMES", "OURS", "SCENARIO_KEYS", "run"]

CONTESTANTS: tuple[type[Contestant], ...] = (
    NamedQueues,
    SharedQueue,
    BareSockets,
    StandardPipe,
    StandardQueue,
    ZeroMQ,
    FasterFifo,
    Iceoryx,
)
NAMES = tuple(each.name for each in CONTESTANTS)
OURS = tuple(each.name for each in CONTESTANTS if each.ours)
SCENARIO_KEYS = tuple(each.key for each in SCENARIOS)

_FULL = Pace(paced_s=1.0, turn_s=0.4, limit_s=120.0)
_QUICK = Pace(paced_s=0.2, turn_s=0.05, limit_s=30.0)


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
    contest = Contest("messaging", CONTESTANTS, options)
    pace = _QUICK if options.quick else _FULL
    wanted = options.rounds or (2 if options.quick else 5)
    chosen = [each for each in SCENARIOS if not options.scenarios or each.key in options.scenarios]
    blocks: dict[str, Block] = {}
    for senders in sorted({each.senders for each in chosen}):
        of_these = [each for each in chosen if each.senders == senders]
        blocks |= _with_teams(contest.present, of_these, senders, pace, wanted, options)
    return contest.report([blocks[each.key] for each in chosen])


def _with_teams(
    present: Sequence[type[Contestant]],
    scenarios: Sequence[Scenario],
    senders: int,
    pace: Pace,
    wanted: int,
    options: Options,
) -> dict[str, Block]:
    """All scenarios with so many senders; the teams stay, asleep while others have their turn."""
    failed: dict[str, str] = {}
    teams: dict[str, Team] = {}
    found = {}
    with ExitStack() as stack:
        for contestant in present:
            try:
                teams[contestant.name] = stack.enter_context(team(contestant, senders))
            except TeamFailed as error:
                failed[contestant.name] = str(error)
        for scenario in scenarios:
            options.say(scenario.title)
            outcome = _outcome(scenario, teams, pace, wanted, options)
            failed |= outcome.failed
            for name in outcome.failed:
                teams.pop(name, None)  # it may be stuck in the middle of something
            found[scenario.key] = block_of(
                scenario.key,
                scenario.title,
                scenario.unit,
                Outcome(turns=outcome.turns, failed=dict(failed), made=outcome.made),
                ours=OURS,
                notes=_notes(scenario, teams),
            )
    return found


def _notes(scenario: Scenario, teams: Mapping[str, Team]) -> dict[str, str]:
    if not scenario.batches:
        return {}
    return {name: "1 by 1" for name, each in teams.items() if not each.does_batches(scenario)}


def _outcome(
    scenario: Scenario, teams: Mapping[str, Team], pace: Pace, wanted: int, options: Options
) -> Outcome:
    turns: dict[str, Callable[[], Turn]] = {}
    failed: dict[str, str] = {}
    for name, each in teams.items():
        if scenario.spin and not each.contestant.polls:
            continue
        if scenario.in_place and not each.contestant.lends:
            continue
        try:
            count = each.fitting(scenario, pace)
        except TeamFailed as error:
            failed[name] = str(error)
            continue
        turns[name] = partial(
            watched, options.pids_with(each.pids), partial(each.measure, scenario, count, pace)
        )
    outcome = alternate(turns, wanted, repeat=not options.quick, said=options.say)
    return Outcome(turns=outcome.turns, failed={**failed, **outcome.failed}, made=outcome.made)
