"""The ground of a system: its region, made, or adopted from a killed system with all that is in it.

A region of a named system on a disk outlives its processes. The next start of that name, with the
same settings and before the machine starts anew, goes on with it: entries, messages, agents. Stands
on the region's door.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import time

from ultrafast.config import Config
from ultrafast.core import Region
from ultrafast.core._region import PHASE_FREE, ROLE_CLIENT, ROLE_MANAGER
from ultrafast.core.advice import advice
from ultrafast.core.leftovers import adoptable_mark, remove_leftovers, remove_region
from ultrafast.errors import (
    RegionDenied,
    RegionError,
    RegionExists,
    RegionMissing,
    RegionNoSpace,
    SystemCallFailed,
)
from ultrafast.sizing import region_sizes

__all__ = [
    "adopt",
    "clear_ground",
    "create_region",
    "mend",
    "refused",
    "settings_for",
    "what_stands_at",
]

log = logging.getLogger(__name__)

_MEMORY = "/dev/shm"
_ORPHANS_S = 10.0  # workers end within two seconds of their manager


def settings_for(config: bytes, named: bool, directory: str) -> bytes:
    """What a region keeps of its settings: marked, if it is to outlive its system.

    Parameters
    ----------
    config : bytes
        The encoded Config.
    named : bool
        Whether the user chose the name: a random one is never asked for again.
    directory : str
        Of the region. What is in memory is not kept.
    """
    real = os.path.realpath(directory)
    if not named or real == _MEMORY or real.startswith(_MEMORY + os.sep):
        return config
    return adoptable_mark() + config


async def adopt(path: str, settings: bytes) -> Region | None:
    """Attach to what a dead system left: its entries can be read and written from then on.

    What its processes held is not there yet: `mend` brings it back, before agents go on.

    Parameters
    ----------
    path : str
        Of the region.
    settings : bytes
        As `settings_for` gave them.

    Returns
    -------
    Region or None
        None when there is nothing to adopt. A region with other settings is removed, and the log
        says so; a link, another user's file, or what can't be attached to is left as it is.

    Raises
    ------
    RegionExists
        The system of this name lives.
    SystemCallFailed
        The operating system refused; what it refused is in the text.
    """
    try:
        region = Region.attach(path, ROLE_MANAGER)
    except SystemCallFailed:
        raise  # this process lacks something: that says nothing of the region
    except RegionError:
        # None is there, or what is there isn't ours to mend. Making one over it is refused, with an
        # error that says what stands there: no second complaint here.
        return None
    try:
        await _wait_for_orphans(region)
        if region.settings != settings:
            log.warning(
                "%s: was left by a system with other settings; it is removed and a new region made",
                path,
            )
            remove_region(path)
            region.close()
            return None
    except BaseException:  # cancelled too: raised again, without the region
        region.close()
        raise
    return region


async def mend(region: Region) -> int:
    """Bring back what the dead held in an adopted region; others may read and write meanwhile.

    Parameters
    ----------
    region : Region

    Returns
    -------
    int
        Processes whose slots were mended. Each costs a pass over all blocks: 0.1 to 0.3 s for a
        million entries, in another thread.
    """
    begun = time.monotonic()
    dead = [
        each.slot
        for each in region.owners()
        if each.phase != PHASE_FREE and not region.alive(each.slot)
    ]
    mended = 0
    for slot in dead:
        mended += await asyncio.to_thread(region.recover, slot) is not None
    log.warning(
        "%s: adopted from a system that was killed; %d processes' slots mended in %.3f s",
        region.path,
        mended,
        time.monotonic() - begun,
    )
    return mended


def what_stands_at(path: str) -> str:
    """The beginning of a sentence on what keeps a region from being made at a path."""
    try:
        status = os.lstat(path)
    except OSError:
        return "a system is running"  # it ended, or moved its folder, since
    if stat.S_ISLNK(status.st_mode):
        return "a link stands"
    if status.st_uid != os.geteuid():
        return "another user's file stands"
    return "a system is running"


async def _wait_for_orphans(region: Region) -> None:
    """Until the workers of a dead manager have ended. Clients may stay, and go on."""
    until = time.monotonic() + _ORPHANS_S
    while True:
        alive = [
            each
            for each in region.owners()
            if each.slot != region.slot and each.role != ROLE_CLIENT and region.alive(each.slot)
        ]
        if not alive:
            return
        if any(each.role == ROLE_MANAGER for each in alive) or time.monotonic() > until:
            raise RegionExists(
                f"{region.path}: a system of this name is running ({len(alive)} of its processes "
                "live): choose another Config(name=...), or attach to it"
            )
        await asyncio.sleep(0.02)


def clear_ground(directory: str) -> None:
    """Remove what dead systems left in the folder where a region is to be."""
    try:
        remove_leftovers(directory)
    except FileNotFoundError:
        raise RegionMissing(
            f"region_path {directory!r} is no folder here: make it, or choose another"
        ) from None
    except PermissionError as error:
        raise RegionDenied(
            f"region_path {directory!r} can't be cleaned of what dead systems left: {error}; "
            "choose a folder that this user may write to"
        ) from error
    except OSError as error:
        raise refused(
            f"region_path {directory!r} can't be cleaned of what dead systems left", error
        ) from error


def create_region(path: str, config: Config, name: str, settings: bytes) -> Region:
    """Make the region of a system; what keeps it from being made is said with what to change."""
    sizes = region_sizes(config)
    try:
        return Region.create(path, sizes, settings)
    except RegionNoSpace as error:
        raise RegionNoSpace(
            f"{error}; pass region_path= on a larger file system, or reduce shared_buffer_size "
            f"({config.shared_buffer_size >> 20} MiB) or memory_store_size "
            f"({config.memory_store_size >> 20} MiB)",
            free_bytes=error.free_bytes,
            needed_bytes=error.needed_bytes,
        ) from None
    except RegionExists:
        what = what_stands_at(path)
        raise RegionExists(
            f"{what} at {path}, where {name!r} was to be: choose another "
            "Config(name=...), or attach to it if it is a system of yours"
        ) from None


def refused(what: str, error: OSError) -> SystemCallFailed:
    """The error for what the operating system refused, with advice."""
    failure = SystemCallFailed(f"{what}: {error}{advice(error.errno)}")
    failure.errno = error.errno
    return failure
