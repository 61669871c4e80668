"""`attach`: join a running system from a process that it did not start.

Stands on the same parts as a worker. A client has an inbox for answers and publications, hosts no
agents, and may be killed at any time: the manager recovers what it held.
"""

from __future__ import annotations

import os
from types import TracebackType

from ultrafast.agents.assembly import assemble
from ultrafast.agents.context import SystemContext
from ultrafast.core import Region
from ultrafast.core._region import ROLE_CLIENT
from ultrafast.core.leftovers import region_path
from ultrafast.settings import decode_config

__all__ = ["Client", "attach"]


class Client(SystemContext):
    """A process's place in a system that it did not start. Made by `attach`.

    Parameters
    ----------
    path : str
        Of the region.

    Attributes
    ----------
    config : Config
        The system's.
    events : EnhancedEventBus
        What happens in the system, and what any of its processes says.
    memory_store : UltraFastMemoryStore
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._region: Region | None = None

    async def __aenter__(self) -> Client:
        region = Region.attach(self._path, ROLE_CLIENT)
        try:
            self.config = decode_config(region.settings)
            owner = region.owner(region.slot)
            parts = assemble(region, self.config, f"client-{region.slot}-{owner.incarnation}")
        except BaseException:
            region.retire()
            raise
        super().__init__(parts.endpoint, parts.bus, parts.spawner, parts.store, parts.events)
        self._region = region
        self._pid = os.getpid()
        parts.endpoint.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the system. May be called twice."""
        region, self._region = self._region, None
        if region is None:
            return
        if os.getpid() == self._pid:  # in a forked child, the place is the parent's
            self._endpoint.leave()
        region.retire()


def attach(name: str, *, directory: str = "/dev/shm") -> Client:
    """Join a running system.

    Parameters
    ----------
    name : str
        Its `Config.name`, or `manager.name`; or the path of its region.
    directory : str
        Its `Config.region_path`.

    Returns
    -------
    Client
        To be entered with `async with`.

    Raises
    ------
    RegionError
        On entering: there is no such system, or it is not this user's.

    Examples
    --------
    >>> async def main():  # doctest: +SKIP
    ...     async with attach("demo") as client:
    ...         print(client.memory_store.get("notes", "haiku"))
    """
    return Client(name if os.sep in name else region_path(directory, name))
