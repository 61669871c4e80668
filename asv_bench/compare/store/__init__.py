"""Values by key: ultrafast's store beside a private dict and what processes share values by.

`run` measures every scenario of `scenarios` on every contestant that is installed, asks of
ultrafast what `keeping` asks, and judges by `targets`. What each contestant does is in its `how`.
Times are means of slices of 1,000 calls, with the loop around them, for all alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

from ..contest import Contest
from ..options import Options
from ..report import Block, Report, block_of
from ..rounds import Turn, alternate, watched
from ..teams import TeamFailed
from .ends import CONTESTANTS, Contestant, folder
from .keeping import KEEPING, keeping
from .scenarios import SCENARIOS, Crowd, Scenario, crowd, fill, slices
from .targets import judged

__all__ = ["CONTESTANTS", "NAMES", "OURS", "SCENARIO_KEYS", "run"]

NAMES = tuple(each.name for each in CONTESTANTS)
OURS = tuple(each.name for each in CONTESTANTS if each.ours)
SCENARIO_KEYS = tuple(each.key for each in (*SCENARIOS, *KEEPING))

_REPEAT_S = 8.0  # of one scenario: so that all of it stays within minutes on a busy machine


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
    contest = Contest("store", CONTESTANTS, options)
    blocks = []
    wanted = [each for each in SCENARIOS if _is_wanted(each.key, options)]
    if wanted:
        blocks += _beside_others(wanted, contest.present, options)
    blocks += [keeping(each, options) for each in KEEPING if _is_wanted(each.key, options)]
    return contest.report(blocks, [] if options.quick else judged(blocks, contest.missing))


def _is_wanted(key: str, options: Options) -> bool:
    return not options.scenarios or key in options.scenarios


def _beside_others(
    scenarios: list[Scenario], present: list[type[Contestant]], options: Options
) -> list[Block]:
    entries, turn_s = (2_000, 0.05) if options.quick else (100_000, 0.25)
    with ExitStack() as stack:
        place = stack.enter_context(folder())
        addresses: dict[str, Any] = {}
        for each in present:
            options.say(f"filling {each.name}")
            at: Path = place / each.name.replace(" ", "-")
            at.mkdir()
            addresses[each.name] = stack.enter_context(each.host(at))
            with closing(each.end(addresses[each.name])) as end:
                fill(end, entries)
        crowds: dict[str, Crowd | TeamFailed] = {}  # asleep while they are not measured
        if any(each.is_crowded for each in scenarios):
            for each in present:
                if each.takes_part("mixed"):
                    crowds[each.name] = _crowd(stack, each, addresses[each.name], options)
        return [
            _block(scenario, present, addresses, crowds, entries, turn_s, options)
            for scenario in scenarios
        ]


def _crowd(
    stack: ExitStack, contestant: type[Contestant], address: Any, options: Options
) -> Crowd | TeamFailed:
    options.say(f"readers and a writer of {contestant.name}")
    try:
        return stack.enter_context(crowd(contestant, address))
    except TeamFailed as error:
        return error


def _block(
    scenario: Scenario,
    present: list[type[Contestant]],
    addresses: Mapping[str, Any],
    crowds: Mapping[str, Crowd | TeamFailed],
    entries: int,
    turn_s: float,
    options: Options,
) -> Block:
    options.say(scenario.title)
    taking = [each for each in present if each.takes_part(scenario.kind)]
    turns: dict[str, Callable[[], Turn]] = {}
    failed: dict[str, str] = {}
    for each in taking:
        if not scenario.is_crowded:
            turns[each.name] = partial(
                _alone, scenario, each, addresses[each.name], entries, turn_s, options
            )
            continue
        team = crowds[each.name]
        if isinstance(team, TeamFailed):
            failed[each.name] = str(team)
        else:
            turns[each.name] = partial(_crowded, scenario, team, entries, turn_s, options)
    outcome = alternate(
        turns,
        1 if scenario.reads_wanted else options.rounds or (1 if options.quick else 3),
        repeat=not options.quick and not scenario.reads_wanted,
        said=options.say,
        repeat_s=_REPEAT_S,
    )
    outcome.failed.update(failed)
    return block_of(
        scenario.key,
        scenario.title,
        scenario.unit,
        outcome,
        ours=OURS,
        notes={
            name: ", ".join(
                f"{sum(turn.counts[count] for turn in found):,} {count}"
                for count in found[0].counts
            )
            for name, found in outcome.turns.items()
            if found and found[0].counts
        },
    )


def _crowded(
    scenario: Scenario, team: Crowd, entries: int, turn_s: float, options: Options
) -> Turn:
    wanted = scenario.reads_wanted // (1_000 if options.quick else 1)
    return team.measure(scenario, entries, turn_s, wanted, options.pids_with(_children))


def _alone(
    scenario: Scenario,
    contestant: type[Contestant],
    address: Any,
    entries: int,
    turn_s: float,
    options: Options,
) -> Turn:
    with closing(contestant.end(address)) as end:
        return watched(
            options.pids_with(_children), lambda: slices(scenario, contestant, end, entries, turn_s)
        )


def _children() -> list[int]:
    """Processes that this one started: readers, writers, servers."""
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
