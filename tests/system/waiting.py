"""Waiting in tests of whole systems: until something holds, and not for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["until"]

_LOOK_S = 0.01


async def until(holds: Callable[[], object], within_s: float = 60.0) -> None:
    """Look again and again whether something holds; `TimeoutError` when it does not in time."""
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(_LOOK_S)
