"""`ultrafast status` and `ultrafast stop`: a running system seen, and ended, from outside.

Stands on the regions by their names. Neither needs the program that made the system.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from ultrafast.cli.common import ExitCode, errors_for_people

if TYPE_CHECKING:
    from ultrafast.agents.processes.stopping import Seen

__all__ = ["status", "stop"]

_Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The system's name, or the path of its region.")
]
_Folder = Annotated[
    str, typer.Option("--directory", metavar="DIR", help="Where the system's region is.")
]
_SHM = "/dev/shm"


def status(
    name: _Name,
    directory: _Folder = _SHM,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say who keeps a system running: its manager, its workers, attached clients.

    Ends with 1 when it has no manager, or not all of its workers; with 2 when there is no such
    system. Changes nothing.
    """
    import msgspec

    from ultrafast.agents.processes.stopping import look_at

    with errors_for_people():
        seen = look_at(_path(name, directory))
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(seen)))
    else:
        _print(seen)
    if seen.manager is None or len(seen.workers) < seen.wanted:
        raise typer.Exit(ExitCode.FAILED)


def stop(
    name: _Name,
    directory: _Folder = _SHM,
    timeout: Annotated[
        float | None,
        typer.Option(help="Seconds that agents have to end; what the system's settings say."),
    ] = None,
) -> None:
    """End a system in order, whether it has a manager or lost it.

    A manager is sent SIGTERM and waited for. Where there is none, the workers that live are told to
    stop their agents and end, the store's last snapshot is made, and the region is removed.
    """
    import asyncio

    from ultrafast.agents.processes.stopping import stop_system

    with errors_for_people():
        how = asyncio.run(stop_system(_path(name, directory), timeout))
    done = "its manager has ended it" if how == "asked" else "it had no manager, and is ended"
    typer.echo(f"{name}: {done}")


def _print(seen: Seen) -> None:
    manager = f"process {seen.manager}"
    if seen.manager is None:
        waits = seen.persist and seen.workers
        manager = "none: its workers wait for the next one" if waits else "none"
    typer.echo(f"{seen.name}: {seen.path}")
    typer.echo(f"manager   {manager}")
    typer.echo(f"workers   {len(seen.workers)} of {seen.wanted}")
    for each in seen.workers:
        place = "?" if each.index is None else each.index
        typer.echo(
            f"  {place:>3}     process {each.pid}, for {each.age_s:,.0f} s, "
            f"last sign of life {each.silent_s:.1f} s ago"
        )
    typer.echo(f"clients   {seen.clients}")
    if seen.dead:
        typer.echo(f"dead      {seen.dead}, not mended yet")


def _path(name: str, directory: str) -> str:
    from ultrafast.core.leftovers import region_path

    return name if os.sep in name else region_path(directory, name)
