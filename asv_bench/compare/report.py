"""What a comparison found: one table for people, the same as JSON.

Stands on rich and msgspec, and on ultrafast for the facts of the machine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ultrafast.validation.machine import MachineFacts

from .figures import medians, ratios
from .rounds import Outcome, Turn

__all__ = ["Block", "Report", "Row", "Verdict", "block_of", "show"]

_WIDTH = 150  # where the output is no terminal
_COMPARED = ("p50", "p95", "per_s", "answered_per_s", "bytes")
_BELOW = ("answered_s", "held_bytes")  # on a line of their own
_UNITS = {
    "us": "µs",
    "ms": "ms",
    "per_s": "messages/s",
    "ops_per_s": "a second",
    "agents": "begun/s, answered/s, each\nuntil then, in all",
}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One contestant in one scenario.

    Parameters
    ----------
    name, note : str
    values : dict of str to float
        Medians over the rounds that count.
    low, high : float
        The least and the largest of its first figure in those rounds.
    samples : int
        Of all of those rounds.
    others_percent : float
        The largest share that others had of the cores in one of its turns.
    ratios : dict of str to dict
        Way of ultrafast -> its figures over this row's, the median of the rounds' ratios.
    turns : list of Turn
        Each round.
    """

    name: str
    note: str
    values: dict[str, float]
    low: float
    high: float
    samples: int
    others_percent: float
    ratios: dict[str, dict[str, float]]
    turns: list[Turn]


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario: a row for each contestant that took part, a reason for each that failed."""

    key: str
    title: str
    unit: str
    rounds: int
    rounds_made: int
    rows: list[Row]
    failed: dict[str, str]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One figure that was aimed at: what it was to be, and what it came to.

    Parameters
    ----------
    title, aim : str
    found : float or None
        None: what it stands on was not measured; `reason` says why.
    met : bool or None
    reason : str
    """

    title: str
    aim: str
    found: float | None
    met: bool | None
    reason: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one invocation found."""

    subject: str
    machine: MachineFacts
    load_after_1m: float
    quick: bool
    contestants: dict[str, str]
    versions: dict[str, str]
    missing: dict[str, str]
    blocks: list[Block]
    verdicts: list[Verdict] = []

    @property
    def ok(self) -> bool:
        """Whether everybody who took part got through."""
        return bool(self.blocks) and not any(block.failed for block in self.blocks)


def block_of(
    key: str,
    title: str,
    unit: str,
    outcome: Outcome,
    *,
    ours: Sequence[str],
    notes: Mapping[str, str] | None = None,
) -> Block:
    """Figures and ratios of an outcome.

    Parameters
    ----------
    key, title, unit : str
        Of the scenario; unit "us", "per_s", or "agents": begun a second, answered a second, bytes.
    outcome : Outcome
    ours : sequence of str
        The names that the others are compared with.
    notes : mapping of str to str, optional
        Remarks by name.

    Raises
    ------
    EmptySample
        A contestant that did not fail has no turn.
    """
    values = {name: [turn.values for turn in turns] for name, turns in outcome.turns.items()}
    rows = []
    for name, turns in outcome.turns.items():
        found = medians(values[name])
        first = [next(iter(turn.values.values())) for turn in turns]
        rows.append(
            Row(
                name=name,
                note=(notes or {}).get(name, ""),
                values=found,
                low=min(first),
                high=max(first),
                samples=sum(turn.samples for turn in turns),
                others_percent=max(turn.others_percent for turn in turns),
                ratios={
                    each: ratios(values[each], values[name])
                    for each in ours
                    if each in values and each != name
                },
                turns=turns,
            )
        )
    return Block(
        key=key,
        title=title,
        unit=unit,
        rounds=max((len(turns) for turns in outcome.turns.values()), default=0),
        rounds_made=outcome.made,
        rows=rows,
        failed=outcome.failed,
    )


def show(report: Report, ours: Sequence[str], console: Console | None = None) -> None:
    """Print the report."""
    if console is None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=_WIDTH)
    facts = report.machine
    console.print(
        f"{facts.cpu_model}, {facts.cpus} cores; {facts.kernel}; {facts.python}; load over one"
        f" minute {facts.load_1m:.1f} before, {report.load_after_1m:.1f} after",
        highlight=False,
    )
    if report.quick:
        console.print("A quick run shows that everything runs. It is no measurement.", style="bold")
    present = [name for name in ours if name in report.contestants]
    table = Table(title=f"{report.subject}: ultrafast beside others", title_justify="left")
    table.add_column("contestant", min_width=30)
    table.add_column("figure", justify="right", no_wrap=True)
    table.add_column("over rounds", justify="right", no_wrap=True)
    table.add_column("samples", justify="right", no_wrap=True)
    table.add_column("others", justify="right", no_wrap=True)
    for name in present:
        table.add_column(f"{name} ÷ it", justify="right", no_wrap=True)
    for block in report.blocks:
        table.add_section()
        table.add_row(f"[bold]{block.title}[/]", f"[bold]{_UNITS[block.unit]}[/]")
        for row in block.rows:
            table.add_row(
                f"  {row.name}{f' ({row.note})' if row.note else ''}",
                _figures(row.values),
                _spread(row),
                f"{row.samples:,}",
                _percent(row.others_percent),
                *(_ratio(row.ratios.get(name)) for name in present),
            )
        for name, reason in block.failed.items():
            table.add_row(f"  {name}", "[red]failed[/]")
            console.print(f"failed, {block.key}: {name}: {reason}", style="red", highlight=False)
    console.print(table)
    if report.verdicts:
        _judge(report.verdicts, console)
    _explain(report, console)


def _judge(verdicts: Sequence[Verdict], console: Console) -> None:
    table = Table(title="what was aimed at", title_justify="left")
    table.add_column("figure", min_width=50)
    table.add_column("aim", justify="right", no_wrap=True)
    table.add_column("found", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    words = {True: "met", False: "[red]missed[/]", None: ""}
    for each in verdicts:
        found = "not measured" if each.found is None else f"{each.found:,.4g}"
        table.add_row(escape(each.title), each.aim, found, words[each.met] or escape(each.reason))
    console.print(table)


def _explain(report: Report, console: Console) -> None:
    rounds = sorted({block.rounds for block in report.blocks})
    made = sum(block.rounds_made - block.rounds for block in report.blocks)
    console.print(
        "Figures are medians over rounds (p50 / p95 / p99 of each; rounds that count:"
        f" {', '.join(map(str, rounds))}; left out as disturbed: {made}). 'over rounds': the least"
        " and the largest of the first figure. 'others': the largest share of all cores' time that"
        " other programs and the hypervisor took in a turn. Ratios: ultrafast's figure over that"
        " row's, the median of the rounds' ratios; of latencies p50 / p95, below 1 ultrafast is"
        " faster; of throughputs, above 1 it is faster; of bytes, below 1 it takes less. Of"
        " many agents: begun and answered a second, what each added, the seconds until each had"
        " answered, and what all processes then held together (PSS).",
        highlight=False,
    )
    for name, how in report.contestants.items():
        console.print(f"[bold]{name}[/] ({report.versions[name]}): {how}", highlight=False)
    for name, reason in report.missing.items():
        console.print(f"[bold]missing: {name}[/]: {reason}", highlight=False)


def _figures(values: dict[str, float]) -> str:
    above = {name: value for name, value in values.items() if name not in _BELOW}
    shown = [" / ".join(_figure(name, value) for name, value in above.items())]
    if below := [_figure(name, values[name]) for name in _BELOW if name in values]:
        shown.append(" / ".join(below))
    return "\n".join(shown)


def _spread(row: Row) -> str:
    first = next(iter(row.values))
    return f"{_figure(first, row.low)} – {_figure(first, row.high)}"


def _figure(name: str, value: float) -> str:
    if name.endswith("bytes"):
        if value >= 1 << 30:
            return f"{value / (1 << 30):.2f} GiB"
        return f"{value / 1024:.1f} KiB" if value < 1 << 20 else f"{value / (1 << 20):.1f} MiB"
    if name == "answered_s":
        return f"{value:.2f} s"
    if name == "over_idle":
        return f"{value:.2f} ×"
    if name == "ms":
        return f"{value:.2f}" if value < 10 else f"{value:,.0f}"
    if not name.endswith("per_s"):
        return f"{value:.2f}" if value < 10 else f"{value:.0f}"
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    return f"{value / 1e3:.1f} K"


def _percent(value: float) -> str:
    return "?" if value == float("inf") else f"{value:.0f} %"


def _ratio(found: dict[str, float] | None) -> str:
    if found is None:
        return ""
    kept = [found[name] for name in _COMPARED if name in found]
    return " / ".join(f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in kept)


def load_now() -> float:
    """The load over one minute."""
    return os.getloadavg()[0]
