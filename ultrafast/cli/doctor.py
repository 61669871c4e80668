"""`ultrafast doctor`: what of this machine would keep a system from running, and what to do.

Stands on the Config and the doors; starts nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

from ultrafast.cli.common import ExitCode

__all__ = ["doctor"]

_DOORS = ("_agents", "_metrics", "_queue", "_region", "_status", "_table")


def doctor() -> None:
    """Check what a system needs of this machine; ends with 2 when something is missing."""
    healthy = True
    checks: tuple[Callable[[], tuple[bool | None, str]], ...] = (
        _python,
        _doors,
        _shared_memory,
        _cores,
        _key,
    )
    for check in checks:
        good, sentence = check()
        healthy &= good is not False
        mark = {True: "ok  ", False: "FAIL", None: "note"}[good]
        typer.echo(f"{mark}  {sentence}")
    raise typer.Exit(ExitCode.OK if healthy else ExitCode.UNUSABLE)


def _python() -> tuple[bool | None, str]:
    version = ".".join(map(str, sys.version_info[:3]))
    supported = sys.implementation.name == "cpython" and sys.version_info >= (3, 11)
    tested = sys.version_info[:2] <= (3, 13)
    hint = "" if supported else "; ultrafast needs CPython 3.11 or later"
    if supported and not tested:
        return None, f"Python {version} is newer than those ultrafast is tested with"
    return supported, f"{sys.implementation.name} {version} on {sys.platform}{hint}"


def _doors() -> tuple[bool | None, str]:
    import importlib

    try:
        for name in _DOORS:
            importlib.import_module(f"ultrafast.core.{name}")
    except ImportError as error:
        return False, f"a compiled door can't be loaded: {error}; install the wheel for this Python"
    return True, f"{len(_DOORS)} compiled doors are loaded"


def _shared_memory() -> tuple[bool | None, str]:
    from ultrafast import Config

    config = Config()
    needed = config.shared_buffer_size + config.memory_store_size
    try:
        room = os.statvfs(config.region_path)
    except OSError as error:
        return False, f"{config.region_path}: {error.strerror}; give region_path another folder"
    free = room.f_bavail * room.f_frsize
    sentence = (
        f"{config.region_path} has {free >> 20:,} MiB free, the default settings need "
        f"{needed >> 20:,} MiB"
    )
    if not os.access(config.region_path, os.W_OK | os.X_OK):
        return False, f"{config.region_path} can't be written; give region_path another folder"
    if free < needed:
        sentence += "; enlarge it (docker run --shm-size), set region_path or smaller sizes"
    return free >= needed, sentence


def _cores() -> tuple[bool | None, str]:
    ours = sorted(os.sched_getaffinity(0))
    numbers = ", ".join(map(str, ours[:16])) + (", ..." if len(ours) > 16 else "")
    sentence = f"{len(ours)} cores ({numbers}); as many workers by default"
    return (True if len(ours) > 1 else None), sentence


def _key() -> tuple[bool | None, str]:
    if os.environ.get("ANTHROPIC_API_KEY", "").strip():
        return True, "ANTHROPIC_API_KEY is set: tasks ask the Messages API"
    return None, "ANTHROPIC_API_KEY is not set: `ultrafast run` asks its loopback server instead"
