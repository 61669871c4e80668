"""Who is measured when: contestants in turns, round after round, and which rounds count.

A round is one turn of each contestant, begun by another one each time. A round in which others
took more of the machine than `ultrafast validate` would accept is repeated, so often and no
oftener; then the calmest count. What decides is the others' share, never a figure.

Stands on ultrafast's own validation for the shares and the choice of rounds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import msgspec

from ultrafast.validation.machine import CpuShares
from ultrafast.validation.rounds import calmest, enough

from .figures import EmptySample
from .teams import TeamFailed

__all__ = ["Outcome", "Turn", "alternate", "watched"]


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One contestant's part of a round.

    Parameters
    ----------
    values : dict of str to float
        Its figures.
    samples : int
        That they stand on.
    others_percent : float
        Of all cores' time, meanwhile, that others had: programs, and guests of the hypervisor.
        Infinite (null in JSON) where the turn was too short to tell.
    counts : dict of str to int
        What was counted beside the figures, of which most should be none.
    """

    values: dict[str, float]
    samples: int
    others_percent: float
    counts: dict[str, int] = {}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of alternating: turns by contestant, and why those that gave up did."""

    turns: dict[str, list[Turn]]
    failed: dict[str, str]
    made: int


class _Round(msgspec.Struct, frozen=True):
    turns: dict[str, Turn]
    others_percent: float


def watched(
    pids: Callable[[], list[int]], measure: Callable[[], tuple[dict[str, float], int]]
) -> Turn:
    """Measure once, watching who else uses the machine.

    Raises
    ------
    EmptySample
        The measurement came back without a sample.
    """
    shares = CpuShares(pids)
    values, samples = measure()
    others, _ = shares.others_percent()
    if samples <= 0:
        raise EmptySample(f"a turn came back with {samples} samples")
    return Turn(
        values=values,
        samples=samples,
        others_percent=float("inf") if others is None else others,
    )


def alternate(
    turns: Mapping[str, Callable[[], Turn]],
    wanted: int,
    *,
    repeat: bool,
    said: Callable[[str], None],
    repeat_s: float = math.inf,
) -> Outcome:
    """Make rounds.

    Parameters
    ----------
    turns : mapping
        Contestant -> a call that measures it once.
    wanted : int
        Rounds that count in the end.
    repeat : bool
        Whether disturbed rounds are repeated.
    said : callable
        Told about progress.
    repeat_s : float
        After so many seconds no disturbed round is repeated any more.

    Returns
    -------
    Outcome
        Every contestant that did not fail has `wanted` turns, all of the same rounds.
    """
    if wanted < 1:
        raise EmptySample(f"{wanted} rounds were asked for")
    order = list(turns)
    failed: dict[str, str] = {}
    rounds: list[_Round] = []
    until = time.monotonic() + repeat_s

    def more() -> bool:
        if len(rounds) < wanted:
            return True
        return repeat and not enough(rounds, wanted) and time.monotonic() < until

    while order and more():
        said(f"round {len(rounds) + 1}")
        taken: dict[str, Turn] = {}
        for name in list(order):
            try:
                taken[name] = turns[name]()
            except (TeamFailed, EmptySample) as error:
                failed[name] = str(error)
                order.remove(name)
        order = order[1:] + order[:1]
        if taken:
            rounds.append(_Round(taken, max(turn.others_percent for turn in taken.values())))
    counted = calmest(rounds, wanted)
    return Outcome(
        turns={
            name: [each.turns[name] for each in counted] for name in turns if name not in failed
        },
        failed=failed,
        made=len(rounds),
    )
