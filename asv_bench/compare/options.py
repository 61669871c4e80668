"""What a run of a comparison is asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import msgspec

__all__ = ["Options"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to run.

    Parameters
    ----------
    quick : bool
        Show that everything runs, in seconds.
    rounds : int
        That count; 0 for the usual number.
    only : tuple of str
        Contestants, besides ultrafast itself; empty for all.
    scenarios : tuple of str
        Keys; empty for all.
    why_missing : dict of str to str
        Why a contestant could not be installed, when the caller knows.
    """

    quick: bool = False
    rounds: int = 0
    only: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    why_missing: dict[str, str] = {}

    def say(self, text: str) -> None:
        """Tell about progress, where somebody watches."""
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    def pids_with(self, pids: Callable[[], list[int]]) -> Callable[[], list[int]]:
        """These processes and this one."""
        return lambda: [os.getpid(), *pids()]
