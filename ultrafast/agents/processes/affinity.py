"""Which processors a worker runs on: `cpus_of`, for the setting `worker_affinity`.

Stands on the errors and asks the operating system what this process may use. Binds nobody.
"""

from __future__ import annotations

import os

from ultrafast.errors import ConfigError

__all__ = ["cpus_of"]


def cpus_of(affinity: str | list[list[int]], index: int) -> set[int] | None:
    """The processors of a worker; None: those of its manager.

    Parameters
    ----------
    affinity : str or list of lists of int
        The setting.
    index : int
        The worker's.

    Raises
    ------
    ConfigError
        A processor is none that this process may use.
    """
    if affinity == "none":
        return None
    ours = sorted(os.sched_getaffinity(0))
    if isinstance(affinity, str):
        return {ours[index % len(ours)]}
    wanted = set(affinity[index % len(affinity)])
    if foreign := sorted(wanted.difference(ours)):
        raise ConfigError(
            f"worker_affinity gives worker {index} the processors {foreign}, which this process "
            f"may not use; it may use {ours}"
        )
    return wanted
