"""`ultrafast validate`: runs a scenario and says whether its targets were met.

Stands on `ultrafast.validation`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from ultrafast.cli.common import ExitCode, errors_for_people, load_config, run_until_told

__all__ = ["validate"]


def validate(
    scenario: Annotated[
        str, typer.Option(help="Which scenario; see --list.")
    ] = "baseline-performance",
    duration: Annotated[
        float, typer.Option(help="Seconds of paced messages on an idle system.")
    ] = 10.0,
    agents: Annotated[int, typer.Option(min=2, help="Agents alive while it measures.")] = 100,
    rate: Annotated[float, typer.Option(help="Paced messages a second.")] = 1000.0,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Where to write what was found.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Worker processes. By default one for each core.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Settings of the system.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print the scenarios and end.")] = False,
) -> None:
    """Measure a system of live agents and compare with the targets.

    Ends with 0 when every target is met, 1 when not, 2 when it could not begin, 130 when it was
    told to stop.
    """
    from ultrafast.validation.registry import SCENARIOS

    if list_:
        for name in sorted(SCENARIOS):
            typer.echo(name)
        return
    with errors_for_people():
        from ultrafast.cli.report_view import print_report
        from ultrafast.jobs.summary import write_whole
        from ultrafast.validation.registry import ScenarioSettings, find_scenario

        found_scenario = find_scenario(scenario)
        settings = ScenarioSettings(
            config=load_config(config, workers=workers),
            agents=agents,
            duration_s=duration,
            rate=rate,
        )

        async def main(stop: asyncio.Event) -> Any:
            working = asyncio.ensure_future(found_scenario.run(settings))
            ending = asyncio.create_task(stop.wait())
            await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                working.cancel()
                await asyncio.wait({working})
                return None
            ending.cancel()
            return await working

        found = run_until_told(main)
        if found is None:
            raise typer.Exit(ExitCode.INTERRUPTED)
        if report is not None:
            write_whole(report, found)
        print_report(found)
        raise typer.Exit(ExitCode.OK if found.passed else ExitCode.FAILED)
