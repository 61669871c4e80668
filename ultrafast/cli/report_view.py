"""Tables of a report, for people. Stands on rich and the report's values; computes nothing."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ultrafast.validation.figures import Report

__all__ = ["print_report"]

_NARROW = 100


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.3f}"


def print_report(report: Report) -> None:
    """Print a report's figures, quantities, checks and what went wrong.

    Parameters
    ----------
    report : Report
    """
    console = Console(highlight=False)
    if not console.is_terminal and console.width < _NARROW:
        console = Console(highlight=False, width=_NARROW)
    machine = report.machine
    console.print(
        escape(
            f"{report.scenario}: {machine.cpus} cores, {machine.cpu_model}, {machine.kernel}, "
            f"{machine.python}, load {machine.load_1m:.2f} at the start"
        ),
        soft_wrap=True,
    )
    figures = Table(title="milliseconds", title_justify="left")
    for column in ("figure", "system", "samples", "p50", "p95", "p99", "max"):
        right = column not in ("figure", "system")
        figures.add_column(column, justify="right" if right else "left", no_wrap=True)
    for one in report.figures:
        values = (one.p50_ms, one.p95_ms, one.p99_ms, one.max_ms)
        figures.add_row(one.name, one.phase, f"{one.samples:,}", *map(_ms, values))
    console.print(figures)

    quantities = Table(title="quantities", title_justify="left")
    for column in ("quantity", "value", "unit", "samples", "conditions"):
        right = column in ("value", "samples")
        quantities.add_column(column, justify="right" if right else "left", no_wrap=right)
    for each in report.quantities:
        quantities.add_row(
            each.name, _number(each.value), each.unit, f"{each.samples:,}", escape(each.conditions)
        )
    console.print(quantities)

    checks = Table(title="targets", title_justify="left")
    for column in ("target", "set by", "bound", "measured", "samples", ""):
        right = column in ("bound", "measured", "samples")
        checks.add_column(column, justify="right" if right else "left", no_wrap=True)
    for check in report.checks:
        bound = f"{check.bound} {check.target:,g} {check.unit}".rstrip()
        verdict = "[green]met[/green]" if check.passed else "[bold red]MISSED[/bold red]"
        if not check.samples:
            verdict = "[bold red]NO SAMPLES[/bold red]"
        measured = _ms(check.measured) if check.unit == "ms" else _number(check.measured)
        checks.add_row(check.name, check.origin, bound, measured, f"{check.samples:,}", verdict)
    console.print(checks)

    if report.accounting is not None:
        counts = report.accounting
        console.print(
            f"messages: {counts.sent:,} sent = {counts.delivered:,} delivered + {counts.refused:,} "
            f"refused + {counts.dead_lettered:,} dead-lettered: "
            f"{'holds' if counts.holds else 'DOES NOT HOLD'}",
            soft_wrap=True,
        )
    for problem in report.problems:
        console.print(escape(f"problem: {problem}"), style="red", soft_wrap=True)
    console.print(
        "passed" if report.passed else "FAILED", style="green" if report.passed else "red"
    )
