"""Blocks: what taking and giving them back costs, through a queue's send and a message's release.

One message at a time lives in this process's cache of free blocks; more at once than the cache
holds go to the shared bitmaps. In company: new memory of the same size, filled.
"""

from __future__ import annotations

import mmap
import os
from contextlib import ExitStack

from ultrafast.core import Queues, Receiver
from ultrafast.core._status import NO_BLOCK

from ._measure import Rival, Times, reports, run_rivals
from ._places import region

_HELD = 512
_BLOCKS = ((256, 4_096), (1_088, 2_048), (65_600, 640), (1_048_640, 8))


@reports("ns", to_floor=True)
class TakeAndGive:
    """A block taken, filled, sent, received and given back; `held` is 512 of them at once."""

    params = (
        ("one at a time", "held", "bytearray(payload)", "mmap slice"),
        (0, 192, 1_024, 65_536),
    )
    param_names = ("how", "payload_bytes")

    def setup_cache(self) -> dict[tuple[str, int], Times]:
        rivals: dict[tuple[str, int], Rival] = {}
        with ExitStack() as stack:
            queues = Queues(stack.enter_context(region(message_blocks=_BLOCKS)))
            index = queues.open("bench")
            take = Receiver(queues, index).take
            memory = mmap.mmap(-1, 1 << 20)
            stack.callback(memory.close)
            for nbytes in self.params[1]:
                payload = os.urandom(nbytes)
                item = (payload, 0, 0, 0, 0, 0, 0, 0, 0, 0)
                names = {"take": take, "index": index, "payload": payload}
                rivals["one at a time", nbytes] = Rival(
                    "send(index, 2, payload)\ntake(1)[0].release()", {**names, "send": queues.send}
                )
                rivals["held", nbytes] = Rival(
                    "send_batch(index, 2, items)\n"
                    "for message in take(count):\n    message.release()",
                    {**names, "send_batch": queues.send_batch, "items": [item] * _HELD}
                    | {"count": _HELD},
                    per=_HELD,
                )
                rivals["bytearray(payload)", nbytes] = Rival(
                    "made(payload)", {"made": bytearray, "payload": payload}
                )
                rivals["mmap slice", nbytes] = Rival(
                    "memory[0:size] = payload",
                    {"memory": memory, "size": nbytes, "payload": payload},
                )
            floor = Rival("noop(index)", {"noop": queues.noop, "index": 0})
            return run_rivals(rivals, floor=floor)


class Exhausted:
    """What an exhausted pool costs the sender: an answer, no wait."""

    def setup(self) -> None:
        self.stack = ExitStack()
        place = self.stack.enter_context(region(message_blocks=((256, 512),)))
        self.queues = Queues(place)
        self.index = self.queues.open("bench")
        while self.queues.send(self.index, 2, b"") != NO_BLOCK:
            pass

    def teardown(self) -> None:
        self.stack.close()

    def time_send_without_a_block(self) -> None:
        self.queues.send(self.index, 2, b"")


class Mean:
    """By asv's own clockwork."""

    params = (0, 1_024, 65_536, 1_048_576)
    param_names = ("payload_bytes",)

    def setup(self, payload_bytes: int) -> None:
        self.stack = ExitStack()
        self.queues = Queues(self.stack.enter_context(region(message_blocks=_BLOCKS)))
        self.index = self.queues.open("bench")
        self.take = Receiver(self.queues, self.index).take
        self.payload = bytes(payload_bytes)

    def teardown(self, payload_bytes: int) -> None:
        self.stack.close()

    def time_send_and_release(self, payload_bytes: int) -> None:
        self.queues.send(self.index, 2, self.payload)
        self.take(1)[0].release()
