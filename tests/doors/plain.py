"""The plain doors as their tests use them, and other processes with them.

Stands on the doors. `Sender` and `Taker` do what a subclass has to, in the simplest way.
"""

import textwrap
from pathlib import Path
from typing import Any

from doors.small import Child
from ultrafast import errors
from ultrafast.core import Message, Metrics, Queues, Region
from ultrafast.core._correlations import Correlations
from ultrafast.core._plainreceiver import SKIP, PlainReceiver
from ultrafast.core._plainsender import PlainSender

__all__ = [
    "DELIVERED",
    "KIND",
    "RAW",
    "REDELIVERED",
    "REFUSED",
    "SENT",
    "Sender",
    "Taker",
    "plain_child",
]

KIND, RAW = 8, 1
SENT, REFUSED, DELIVERED, REDELIVERED = range(4)


class Sender(PlainSender):
    """Encodes text, and nothing else."""

    def __init__(self, region: Region, spin_us: float = 0, numbers: int = 0) -> None:
        queues = Queues(region)
        self._open(
            queues,
            queues.open("plain"),
            Metrics(region),
            Correlations(numbers),
            lane=2,
            kind=KIND,
            raw=RAW,
            sent=SENT,
            refused=REFUSED,
            trace=lambda: None,
            view=RAW,
            spin_us=spin_us,
        )

    def _put(self, body: Any, priority: Any, ttl_s: Any, sender: Any, timeout_s: Any) -> bool:
        lane = priority if isinstance(priority, int) else 2
        return self._post(body.encode(), 9, lane, int(ttl_s or 0), sender or 0, timeout_s)

    def _exhausted(self, nbytes: int) -> Exception:
        return errors.PoolExhausted(f"none of {nbytes}")


class Taker(PlainReceiver):
    """Answers what is not plain as text; `skipped` and `broken` say what it does not answer."""

    def __init__(self, region: Region, max_batch: int = 4, spin_us: float = 0) -> None:
        self.unusual: list[tuple[int, int, int]] = []
        self.skipped = self.broken = b"-"
        queues = Queues(region)
        self._open(
            queues,
            queues.open("plain"),
            Metrics(region),
            max_batch=max_batch,
            kind=KIND,
            raw=RAW,
            delivered=DELIVERED,
            redelivered=REDELIVERED,
            spin_us=spin_us,
        )

    def _made(self, message: Message) -> Any:
        body = message.tobytes()
        self.unusual.append((message.kind, message.attempt, message.extra))
        if body == self.skipped:
            message.release()
            return SKIP
        if body == self.broken:
            raise LookupError(body.decode())
        return body.decode()


_HEAD = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from doors.plain import Sender, Taker
from ultrafast.core import Region
from ultrafast.core._region import ROLE_CLIENT
region = Region.attach(sys.argv[1], ROLE_CLIENT)
"""


def plain_child(program: str, path: Path, *arguments: object) -> Child:
    """A process that is attached to the region as `region` and runs the program."""
    folder = Path(__file__).parents[1]
    return Child(_HEAD + textwrap.dedent(program), folder, path, *arguments)
