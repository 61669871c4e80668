"""What the store aims at, figure by figure, and whether a run reached it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ..figures import EmptySample, ratios
from ..report import Block, Row, Verdict

__all__ = ["TARGETS", "Target", "judged"]

_OURS = "ultrafast"
_NAMESPACE = "ultrafast namespace"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One figure.

    Parameters
    ----------
    title : str
    scenario : str
        Key of its block.
    figure : str
        A name in the rows' values or counts.
    of : str
        Whose row.
    over : str
        Whose figure it is divided by, the median of the rounds' ratios; empty: none.
    scale : float
        What an undivided figure is multiplied by.
    most, least : float or None
        The aim.
    """

    title: str
    scenario: str
    figure: str = "p50"
    of: str = _OURS
    over: str = ""
    scale: float = 1.0
    most: float | None = None
    least: float | None = None

    @property
    def aim(self) -> str:
        """In words."""
        return f"≤ {self.most:,g}" if self.most is not None else f"≥ {self.least:,g}"


def _dict(title: str, scenario: str, most: float, of: str = _OURS) -> Target:
    return Target(title=f"{title} ÷ dict", scenario=scenario, over="dict", most=most, of=of)


def _ns(title: str, scenario: str, most: float) -> Target:
    return Target(title=f"{title}, ns", scenario=scenario, scale=1e3, most=most)


TARGETS = (
    _dict("get, one key", "hot", 0.75),
    _ns("get, one key", "hot", 100),
    _dict("namespace[key], one key", "hot", 0.55, of=_NAMESPACE),
    _dict("get, random keys", "random", 0.75),
    _dict("get of a missing key", "miss", 0.6),
    _dict("set over random keys", "overwrite", 0.95),
    _dict("set of new keys", "insert", 1.4),
    _dict("get_batch of 100, for each", "get-batch", 0.13),
    _dict("set_batch of 1,000, for each", "set-batch", 0.4),
    _ns("get, one key, an int", "hot-int", 50),
    _ns("get, one key, a float", "hot-float", 50),
    _ns("get, one key, a small dict, decoded", "hot-dict", 190),
    Target(title="get, one key ÷ LMDB", scenario="hot", over="lmdb without sync", most=0.12),
    Target(
        title="set over random keys ÷ LMDB without sync",
        scenario="overwrite",
        over="lmdb without sync",
        most=0.22,
    ),
    Target(
        title="2 readers beside 1 writer, reads/s",
        scenario="mixed",
        figure="per_s",
        least=4.5e6,
    ),
    Target(
        title="2 readers beside 1 writer, writes/s",
        scenario="mixed",
        figure="writes_per_s",
        least=1.1e6,
    ),
    Target(title="torn values in 100 M reads", scenario="whole", figure="torn", most=0),
    Target(title="false misses in 100 M reads", scenario="whole", figure="missed", most=0),
    Target(
        title="taking over a region on a disk, 1,000,000 entries, ms",
        scenario="adopt",
        figure="ms",
        most=1,
    ),
    Target(
        title="loading a snapshot file, 1,000,000 entries, ms",
        scenario="load",
        figure="ms",
        most=2_000,
    ),
    Target(
        title="reads beside running snapshots ÷ without, 50,000 changes/s",
        scenario="running",
        figure="per_s",
        over="without snapshots",
        least=0.97,
    ),
)


def judged(blocks: Sequence[Block], missing: Mapping[str, str]) -> list[Verdict]:
    """A verdict for each target; `missing`: who could not take part, and why."""
    rows = {block.key: {row.name: row for row in block.rows} for block in blocks}
    return [_judge(target, rows.get(target.scenario), missing) for target in TARGETS]


def _judge(target: Target, rows: Mapping[str, Row] | None, missing: Mapping[str, str]) -> Verdict:
    if rows is None:
        return _unknown(target, "this scenario was not asked for")
    for name in (target.of, target.over):
        if name and name not in rows:
            return _unknown(target, missing.get(name, f"no {name}"))
    found = _found(target, rows)
    if found is None:
        return _unknown(target, f"no {target.figure}")
    if target.most is not None:
        met = found <= target.most
    else:
        met = target.least is not None and found >= target.least
    return Verdict(title=target.title, aim=target.aim, found=found, met=met)


def _found(target: Target, rows: Mapping[str, Row]) -> float | None:
    turns = rows[target.of].turns
    if target.over:
        try:
            return ratios(
                [turn.values for turn in turns], [turn.values for turn in rows[target.over].turns]
            ).get(target.figure)
        except EmptySample:
            return None
    if target.figure in rows[target.of].values:
        return rows[target.of].values[target.figure] * target.scale
    counts = [turn.counts[target.figure] for turn in turns if target.figure in turn.counts]
    return float(sum(counts)) if counts else None


def _unknown(target: Target, reason: str) -> Verdict:
    return Verdict(title=target.title, aim=target.aim, found=None, met=None, reason=reason)
