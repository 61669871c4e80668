"""A process that attaches to the system and sends until it is killed: `python -m` with its name."""

from __future__ import annotations

import asyncio
import sys

import ultrafast as uf
from system.soaking.ids import SPACE, fault
from system.soaking.load import Load

__all__ = ["main"]


async def _send(name: str, directory: str) -> None:
    async with uf.attach(name) as client:
        store = client.memory_store
        sinks = list(store.get(SPACE, "sinks"))
        try:
            await Load(client.bus, store, None, directory, sinks).run()
        except Exception as error:
            fault(directory, f"sender: {error!r}")
            raise


def main() -> None:
    """Send."""
    asyncio.run(_send(sys.argv[1], sys.argv[2]))


if __name__ == "__main__":
    main()
