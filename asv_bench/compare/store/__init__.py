"""Values by key: ultrafast's store beside a private dict and what processes share values by.

`run` measures every scenario of `scenarios` on every contestant that is installed. What each does
is in its `how`. Times are means of slices of 1,000 calls, with the loop around them, for all alike.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from ultrafast.validation.machine import machine_facts

from ..options import Options
from ..report import Block, Report, block_of, load_now
from ..rounds import Turn, alternate, watched
from .ends import CONTESTANTS, Contestant, folder
from .scenarios import SCENARIOS, Scenario, mixed, slices

__all__ = ["CONTESTANTS", "NAMES", "OURS", "SCENARIO_KEYS", "run"]

NAMES = tuple(each.name for each in CONTESTANTS)
OURS = tuple(each.name for each in CONTESTANTS if each.ours)
SCENARIO_KEYS = tuple(each.key for each in SCENARIOS)

_LIMIT_S = 120.0


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
    machine = machine_facts()
    missing: dict[str, str] = {}
    present: list[type[Contestant]] = []
    for each in CONTESTANTS:
        if options.only and each.name not in options.only and not each.ours:
            continue
        reason = each.missing()
        if reason is None:
            present.append(each)
        else:
            missing[each.name] = options.why_missing.get(each.name, reason)
    blocks = [
        _block(scenario, present, options)
        for scenario in SCENARIOS
        if not options.scenarios or scenario.key in options.scenarios
    ]
    options.say("")
    return Report(
        subject="store",
        machine=machine,
        load_after_1m=load_now(),
        quick=options.quick,
        contestants={each.name: each.how for each in present},
        versions={each.name: each.version() for each in present},
        missing=missing,
        blocks=blocks,
    )


def _block(scenario: Scenario, present: list[type[Contestant]], options: Options) -> Block:
    options.say(scenario.title)
    entries, turn_s = (2_000, 0.05) if options.quick else (100_000, 0.5)
    taking = [each for each in present if each.is_shared or scenario.kind != "mixed"]
    with ExitStack() as stack:
        place = stack.enter_context(folder())
        turns: dict[str, Callable[[], Turn]] = {}
        for each in taking:
            at = place / each.name.replace(" ", "-")
            at.mkdir()
            address = stack.enter_context(each.host(at))
            turns[each.name] = partial(_turn, scenario, each, address, entries, turn_s, options)
        outcome = alternate(
            turns,
            options.rounds or (1 if options.quick else 5),
            repeat=not options.quick,
            said=options.say,
        )
    return block_of(scenario.key, scenario.title, scenario.unit, outcome, ours=OURS)


def _turn(
    scenario: Scenario,
    contestant: type[Contestant],
    address: Any,
    entries: int,
    turn_s: float,
    options: Options,
) -> Turn:
    pids = options.pids_with(_children)
    if scenario.kind == "mixed":
        return mixed(contestant, address, entries, turn_s, _LIMIT_S, pids)
    end = contestant.end(address)
    try:
        return watched(pids, lambda: slices(scenario, end, entries, turn_s))
    finally:
        end.close()


def _children() -> list[int]:
    """Processes that this one started: readers, writers, servers."""
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
