"""The ground of a system: its region, made, or adopted from a killed system with all that is in it.

A region of a named system on a disk outlives its processes, and so does that of a persistent system
wherever it is. The next start of that name, with the same settings and before the machine starts
anew, goes on with it: entries, messages, agents, and workers that live. One manager at a time has
the lock that says so. Stands on the region's door.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import time
from typing import NamedTuple

import msgspec

from ultrafast.config import Config
from ultrafast.core import Region
from ultrafast.core._region import PHASE_FREE, ROLE_CLIENT, ROLE_MANAGER
from ultrafast.core.advice import advice
from ultrafast.core.leftovers import adoptable_mark, remove_leftovers, remove_region
from ultrafast.core.managerlock import ManagerLock
from ultrafast.errors import (
    RegionDenied,
    RegionError,
    RegionExists,
    RegionMissing,
    RegionNoSpace,
    SystemCallFailed,
)
from ultrafast.settings import decode_config, encode_config
from ultrafast.sizing import region_sizes

__all__ = [
    "Ground",
    "adopt",
    "clear_ground",
    "create_region",
    "mend",
    "refused",
    "settings_for",
    "take_ground",
    "what_stands_at",
]

log = logging.getLogger(__name__)

_MEMORY = "/dev/shm"
_ORPHANS_S = 10.0  # workers end within two seconds of their manager
# For the lock: whoever looks for leftovers has it for a moment, who comes too early for a little
# longer.
_LOCK_S = 1.0
_LOCK_NEW_S = 5.0
_MEND_S = 30.0
_PAUSE_S = 0.02


class Ground(NamedTuple):
    """Where a system stands: its region, the right to manage it, and what was there before.

    Attributes
    ----------
    region : Region
    lock : ManagerLock
        Held; to be released once the region is left.
    config : Config
        The system's: a number of workers that was not said is that of the region.
    adopted : bool
        Whether the region was there, with what is in it.
    """

    region: Region
    lock: ManagerLock
    config: Config
    adopted: bool


def settings_for(config: Config) -> bytes:
    """What a region keeps of its settings: marked, if it is to outlive its system.

    Parameters
    ----------
    config : Config
        With its name, which the user chose.
    """
    data = encode_config(config)
    real = os.path.realpath(config.region_path)
    in_memory = real == _MEMORY or real.startswith(_MEMORY + os.sep)
    return data if in_memory and not config.persist else adoptable_mark() + data


async def take_ground(path: str, config: Config, *, named: bool) -> Ground:
    """Make the region of a system, or take over what a manager that died has left.

    What dead processes held in an adopted one is not back yet: `mend` brings it, before agents go
    on.

    Parameters
    ----------
    path : str
        Of the region.
    config : Config
        With the system's name.
    named : bool
        Whether the user chose it: a random one is never asked for again.

    Raises
    ------
    RegionExists
        The system of this name has a manager, or workers that live with other settings.
    RegionError
        The region can't be made, with what to change.
    SystemCallFailed
        The operating system refused; what it refused is in the text.
    """
    clear_ground(config.region_path)
    ground = await adopt(path, config)
    if ground is not None:
        return ground
    config = _settled(config, None)
    settings = settings_for(config) if named else encode_config(config)
    region = create_region(path, config, config.name or "", settings)
    try:
        lock = await _locked(path, _LOCK_NEW_S)
        assert lock is not None  # the file was made just now
    except BaseException:  # raised again, without the region
        region.close()  # first: to remove it takes a descriptor
        remove_region(path)
        raise
    return Ground(region, lock, config, adopted=False)


async def adopt(path: str, config: Config | None) -> Ground | None:
    """Take over what a manager that died has left, its living workers included.

    Parameters
    ----------
    path : str
        Of the region.
    config : Config, optional
        Its settings have to be these; whatever they are when not given.

    Returns
    -------
    Ground or None
        None when there is nothing to adopt. A region of the dead with other settings is removed,
        and the log says so; a link, another user's file, or what can't be attached to is left as
        it is.
    """
    lock = await _locked(path, _LOCK_S)
    if lock is None:
        # None is there, or what is there isn't ours to mend. Making one over it is refused, with an
        # error that says what stands there: no second complaint here.
        return None
    region = None
    try:
        try:
            region = Region.attach(path, ROLE_MANAGER)
        except SystemCallFailed:
            raise  # this process lacks something: that says nothing of the region
        except RegionError:
            lock.release()
            return None
        there = _settings_in(region)
        living = await _wait_for_orphans(region, there is not None and there.persist)
        wanted = there if config is None else _settled(config, there)
        if wanted is not None and _is_of(region, wanted):
            return Ground(region, lock, wanted, adopted=True)
        if living:
            raise RegionExists(
                f"{path}: workers of a system of this name live and wait for a manager with their "
                f"settings; other here: {_differences(there, wanted)}. Give the same, or end them "
                "first (`ultrafast stop`)"
            )
        log.warning(
            "%s: was left by a system with other settings (%s); it is removed and a new region "
            "made",
            path,
            _differences(there, wanted),
        )
        remove_region(path)
    except BaseException:  # cancelled too: raised again, without the region
        if region is not None:
            region.close()
        lock.release()
        raise
    region.close()
    lock.release()
    return None


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
    mended = 0
    while True:
        for slot in _dead(region):
            mended += await asyncio.to_thread(region.recover, slot) is not None
        # What another process mends just now has to be done as well, if that ends at all.
        if not _dead(region) or time.monotonic() > begun + _MEND_S:
            break
        await asyncio.sleep(_PAUSE_S)
    log.warning(
        "%s: adopted from a manager that is gone; %d processes' slots mended in %.3f s",
        region.path,
        mended,
        time.monotonic() - begun,
    )
    return mended


def _dead(region: Region) -> list[int]:
    return [
        each.slot
        for each in region.owners()
        if each.phase != PHASE_FREE and not region.alive(each.slot)
    ]


def _settled(config: Config, there: Config | None) -> Config:
    """A Config with a number of workers: what was said, or is there, or one for each core."""
    if config.workers is not None:
        return config
    cores = len(os.sched_getaffinity(0))
    workers = there.workers if there is not None else cores
    return msgspec.structs.replace(config, workers=workers)


def _settings_in(region: Region) -> Config | None:
    try:
        return decode_config(region.settings)
    except RegionError:
        return None  # of another version, or damaged: nobody has the same


def _is_of(region: Region, config: Config) -> bool:
    """Whether a region has these settings, and was made since the machine started if it says so."""
    plain = encode_config(config)
    return region.settings in (plain, adoptable_mark() + plain)


def _differences(there: Config | None, here: Config | None) -> str:
    if there is None or here is None:
        return "all, they can't be read by this version"
    fields = [
        f"{name} ({getattr(there, name)!r}, here {getattr(here, name)!r})"
        for name in there.__struct_fields__
        if getattr(there, name) != getattr(here, name)
    ]
    return ", ".join(fields) or "none, but it is of before the machine's last start"


async def _locked(path: str, patience_s: float) -> ManagerLock | None:
    """The right to manage the system of a region; None where there is no region of this user."""
    until = time.monotonic() + patience_s
    while True:
        try:
            lock = ManagerLock(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise refused(f"{path} can't be locked", error) from error
        if lock.take() and lock.is_current:
            return lock
        lock.release()
        if time.monotonic() > until:
            raise RegionExists(
                f"{path}: a system of this name is running: choose another Config(name=...), or "
                "attach to it"
            )
        await asyncio.sleep(_PAUSE_S)


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


async def _wait_for_orphans(region: Region, persist: bool) -> bool:
    """Whether workers of a dead manager live; those that end with it are given the time to.

    Clients may stay, and go on.
    """
    until = time.monotonic() + _ORPHANS_S
    while True:
        alive = [
            each
            for each in region.owners()
            if each.slot != region.slot and each.role != ROLE_CLIENT and region.alive(each.slot)
        ]
        managed = any(each.role == ROLE_MANAGER for each in alive)
        if not managed and (persist or not alive):
            return bool(alive)
        if managed or time.monotonic() > until:
            raise RegionExists(
                f"{region.path}: a system of this name is running ({len(alive)} of its processes "
                "live): choose another Config(name=...), or attach to it"
            )
        await asyncio.sleep(_PAUSE_S)


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
