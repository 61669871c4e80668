"""What goes on with a handler's coroutine that has taken its first step, and waits.

Stands on the door that takes first steps. It knows nothing of agents.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Generator
from typing import Any, Final

from ultrafast.core._walkers import Walker

__all__ = ["WALKERS", "WALKERS_MOST", "rest_of"]

WALKERS: Final = 4
"""Tasks that are made when none is left that waits for a handler."""
WALKERS_MOST: Final = 64
"""Those that are kept, once they were needed."""


@types.coroutine
def rest_of(walker: Walker, cancelled: BaseException | None) -> Generator[Any, Any, Any]:
    """What is left of a coroutine, as its task awaits it: as if that had begun it.

    Parameters
    ----------
    walker : Walker
    cancelled : CancelledError, optional
        The task was, between the first step and this.
    """
    coroutine, run, yielded = walker.coroutine, walker.context.run, walker.yielded
    assert coroutine is not None
    try:
        if cancelled is not None and not (asyncio.isfuture(yielded) and yielded.cancel()):
            yielded = run(coroutine.throw, cancelled)
        while True:
            if asyncio.isfuture(yielded):
                # What tells a task that it was awaited; whoever takes it over takes it back.
                yielded._asyncio_future_blocking = True
            try:
                sent = yield yielded
            except GeneratorExit:
                run(coroutine.close)
                raise
            except BaseException as error:  # noqa: BLE001 - the coroutine gets it
                yielded = run(coroutine.throw, error)
            else:
                yielded = run(coroutine.send, sent)
    except StopIteration as ended:
        return ended.value
