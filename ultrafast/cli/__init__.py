"""The command `ultrafast`: a file for each of its commands, put together in `app`.

Stands on typer and rich, and on the public names. Light to import: what a command needs is imported
when it runs.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line, as the installed command `ultrafast` does; never returns."""
    from ultrafast.cli.app import app

    app(prog_name="ultrafast")
