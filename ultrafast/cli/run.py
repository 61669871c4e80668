"""`ultrafast run`: does a file of tasks with a crew of agents. Stands on `ultrafast.jobs`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ultrafast.cli.common import ExitCode, errors_for_people, load_config, run_until_told

if TYPE_CHECKING:
    from ultrafast import Config, UltraFastAgentManager
    from ultrafast.jobs.summary import JobSummary
    from ultrafast.validation.figures import Report

__all__ = ["run"]

_CHECK = "check.json"
_SPAWNS = 200


def run(
    tasks: Annotated[Path, typer.Argument(metavar="TASKS.jsonl", help="One task a line, as JSON.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Results go here; what is there already is not done again."
        ),
    ],
    agents: Annotated[
        int | None,
        typer.Option(min=1, help="Agents alive during the job. By default as many as it needs."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Worker processes. By default one for each core.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Then measure the system and compare with the targets.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Where --check writes what it found; DIR/{_CHECK}."),
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Begin no further task after one has failed.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Settings of the system.")
    ] = None,
) -> None:
    """Do a file of tasks with a crew of agents, and go on where an earlier run stopped.

    Ends with 0 when every line has an answer and every target is met, 1 when not, 2 when it could
    not begin, 130 when it was told to stop.
    """
    with errors_for_people():
        settings = load_config(config, workers=workers)
        raise typer.Exit(_run(tasks, out, agents, settings, check, report, fail_fast))


def _run(
    tasks: Path,
    out: Path,
    agents: int | None,
    config: Config,
    check: bool,
    report_file: Path | None,
    fail_fast: bool,
) -> ExitCode:
    import msgspec

    from ultrafast.cli.job_view import JobView, print_summary
    from ultrafast.cli.report_view import print_report
    from ultrafast.jobs.job import JobOptions, run_job
    from ultrafast.jobs.summary import write_whole
    from ultrafast.validation.measure import HEADROOM

    needed = (agents or 0) + HEADROOM
    if config.max_concurrent_agents < needed:
        config = msgspec.structs.replace(config, max_concurrent_agents=needed)
    options = JobOptions(
        tasks_file=tasks, out=out, config=config, agents=agents, fail_fast=fail_fast
    )
    with JobView() as view:

        async def main(stop: asyncio.Event) -> tuple[JobSummary, Any]:
            return await run_job(options, view, stop, _measure if check else None)

        async def _measure(
            manager: UltraFastAgentManager, alive: int, summary: JobSummary
        ) -> Report:
            view.measuring()
            return await _check(manager, alive, summary)

        summary, found = run_until_told(main)
    print_summary(summary, out)
    if found is not None:
        write_whole(report_file or out / _CHECK, found)
        print_report(found)
    if summary.interrupted:
        return ExitCode.INTERRUPTED
    if not summary.complete or (check and (found is None or not found.passed)):
        return ExitCode.FAILED
    return ExitCode.OK


async def _check(manager: UltraFastAgentManager, alive: int, summary: JobSummary) -> Report:
    """Measure the job's system while its agents are alive."""
    from ultrafast.validation.figures import Quantity
    from ultrafast.validation.measure import Round, measure_round

    throughput = Quantity(
        name="task throughput",
        unit="tasks/s",
        value=summary.tasks_per_s,
        samples=summary.ok + summary.failed - summary.resumed,
        conditions=f"this job, answers from {summary.source}",
    )
    return await measure_round(
        manager,
        "run --check",
        alive,
        Round(warm_spawns=_SPAWNS, cold_spawns=_SPAWNS, rate=1000.0, duration_s=10.0),
        settings={"agents": alive, "rate": 1000.0, "duration_s": 10.0},
        extra=(throughput,),
    )
