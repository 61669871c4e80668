"""What the commands share: exit codes, settings from a file, errors for people, running until told.

Stands on typer and the errors. The exit codes are a contract, see `ExitCode`.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from ultrafast.errors import UltrafastError

if TYPE_CHECKING:
    from ultrafast import Config

__all__ = ["ExitCode", "complain", "errors_for_people", "load_config", "run_until_told"]

T = TypeVar("T")


class ExitCode(IntEnum):
    """How a command ends."""

    OK = 0
    """All was done, and every target met."""
    FAILED = 1
    """Something failed, was skipped or malformed, or missed its target."""
    UNUSABLE = 2
    """It could not begin or go on: wrong arguments, files, settings, machine."""
    INTERRUPTED = 130
    """It was told to stop, and stopped in order."""


def complain(sentence: str) -> None:
    """Say on stderr what is wrong."""
    typer.echo(f"error: {sentence}", err=True)


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Turn the errors that a user can do something about into a sentence and an exit code."""
    try:
        yield
    except (UltrafastError, OSError, ValueError) as error:
        complain(str(error))
        raise typer.Exit(ExitCode.UNUSABLE) from error


def load_config(path: Path | None, **overrides: Any) -> Config:
    """The settings of a file, or the default ones, with those of the command line over them.

    Parameters
    ----------
    path : Path, optional
        A TOML file.
    **overrides
        Fields of the Config; None leaves them as they are.
    """
    import msgspec

    from ultrafast import Config

    config = Config.from_toml(path) if path is not None else Config()
    wanted = {field: value for field, value in overrides.items() if value is not None}
    return msgspec.structs.replace(config, **wanted) if wanted else config


def run_until_told(main: Callable[[asyncio.Event], Awaitable[T]]) -> T:
    """Run a coroutine on a loop of its own; SIGINT and SIGTERM set the event that it is given.

    A second signal ends the process as it would end any other.

    Parameters
    ----------
    main : callable
        Takes the event.
    """

    async def run() -> T:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()

        def told(number: signal.Signals) -> None:
            complain(f"{number.name} received: stopping, once more to stop at once")
            stop.set()
            for each in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(each)

        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, told, each)
        return await main(stop)

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    try:
        import uvloop
    except ImportError:
        return asyncio.run(run())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())
