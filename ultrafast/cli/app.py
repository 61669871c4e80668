"""The commands of `ultrafast`, put together. Stands on typer; knows nothing of what they do."""

from __future__ import annotations

from typing import Annotated

import typer

from ultrafast import __version__
from ultrafast.cli.doctor import doctor
from ultrafast.cli.run import run
from ultrafast.cli.store import store
from ultrafast.cli.systems import status, stop
from ultrafast.cli.validate import validate

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # a local may be a key
    help="Agents in worker processes, talking through lock-free shared memory.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ultrafast {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


app.command()(run)
app.command()(validate)
app.command()(doctor)
app.command()(status)
app.command()(stop)
app.add_typer(store, name="store")
