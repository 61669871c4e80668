"""The agents of the chaos run: they write each message down, and send another on to one of them.

Stands on the book. Three kinds of policy: `Steady` is restarted whatever ends it, `Frail` fails by
itself now and then, `Mortal` ends with its worker.
"""

from __future__ import annotations

import contextlib
import random
from typing import Any, Final

import ultrafast as uf
from system.raging.book import COUNT_BITS, Log
from ultrafast.errors import AgentGone

__all__ = ["SPACE", "TYPES", "Frail", "Mortal", "Steady", "streams"]

SPACE: Final = "chaos"
_FAILS_EVERY: Final = 97
_FORGETS_EVERY: Final = 997


class _Process:
    """What all agents of a process share."""

    def __init__(self, store: uf.UltraFastMemoryStore) -> None:
        directory = str(store.get(SPACE, "directory"))
        stream = store.incr(SPACE, "streams")
        self.peers: list[int] = list(store.get(SPACE, "peers"))
        self.forgets = bool(store.get(SPACE, "forgets"))
        self.sent = Log(directory, "sent", stream)
        self.got = Log(directory, "got", stream)
        self.next = stream << COUNT_BITS
        self.chance = random.Random(stream)


_process: _Process | None = None


def streams(store: uf.UltraFastMemoryStore) -> int:
    """How many processes of agents there have been."""
    return int(store.get(SPACE, "streams", 0))


class Steady(uf.Agent):
    """Sends on what still has a way to go."""

    def on_message(self, message: uf.IncomingMessage) -> Any:
        global _process
        if _process is None:
            _process = _Process(self.context.memory_store)
        here = _process
        number, hops = message.body
        if here.forgets and number % _FORGETS_EVERY == 0:
            return None  # the fault that has to be found
        here.got.add(number | message.redelivered << 63)
        if hops and here.peers:
            on = here.next
            here.next += 1
            with contextlib.suppress(AgentGone):  # mortals end
                if self.context.send_nowait(here.chance.choice(here.peers), [on, hops - 1]):
                    here.sent.add(on)
        return self.then(number)

    def then(self, number: int) -> Any:
        """What else there is to do."""
        return number


class Mortal(Steady):
    """Is not restarted."""


class Frail(Steady):
    """Fails now and then, after it has done everything."""

    def then(self, number: int) -> Any:
        if number % _FAILS_EVERY == 0:
            raise RuntimeError(f"message {number:#x} is one to fail at")
        return number


TYPES: Final[dict[str, tuple[type[uf.Agent], uf.Restart]]] = {
    "chaos-steady": (Steady, uf.Restart(when="always", intensity=1_000_000)),
    "chaos-frail": (Frail, uf.Restart(on_error="fail", intensity=1_000_000, backoff_max_s=0.1)),
    "chaos-mortal": (Mortal, uf.Restart(when="never")),
}
