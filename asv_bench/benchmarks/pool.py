"""Blocks: what taking and giving them back costs, through a queue's send and a message's release.

One message at a time lives in this process's cache of free blocks; more at once than the cache
holds go to the shared bitmaps. In company: new memory of the same size, filled.
"""

from __future__ import annotations

import mmap
import os
from contextlib import ExitStack
from typing import Any

from ultrafast.core import Queues, Receiver

from ._measure import Rival, Times, reports, run_rivals
from ._places import region

_HELD = 512
_BLOCKS = ((256, 4_096), (1_088, 2_048), (65_600, 640), (1_048_640, 8))


@reports("ns", to_floor=True)
class TakeAndGive:
    """A block taken, filled, sent, received and given back; `held` is 512 of them at once."""

    params = (
        ("one at a time", "held", "bytearray(payload)", "mmap slice"),
        (0, 192, 1_024, 65_536, 1_048_576),
    )
    param_names = ("how", "payload_bytes")
    skip_params = (("held", 1_048_576),)  # there are not so many such blocks

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
                names: dict[str, Any] = {"take": take, "index": index, "payload": payload}
                rivals["one at a time", nbytes] = Rival(
                    "send(index, 2, payload)\ntake(1)[0].release()", {**names, "send": queues.send}
                )
                held = {**names, "send_batch": queues.send_batch, "count": _HELD}
                held["items"] = [(payload, 0, 0, 0, 0, 0, 0, 0, 0, 0)] * _HELD
                if ("held", nbytes) not in self.skip_params:
                    rivals["held", nbytes] = Rival(
                        "send_batch(index, 2, items)\n"
                        "for message in take(count):\n    message.release()",
                        held,
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
