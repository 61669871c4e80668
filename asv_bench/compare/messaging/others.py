"""What others offer: pyzmq and faster-fifo, used as their own documents use them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Any

from .ends import BATCH, Contestant, End, imported, installed, why_missing

__all__ = ["FasterFifo", "ZeroMQ"]

_FIFO_BYTES = 8 << 20


class _ZeroMQEnd(End):
    def __init__(self, folder: str, outward: str, inward: str, *, first: bool) -> None:
        """The far end binds, which is the one that is there for several."""
        zmq = imported("zmq")
        self._context = zmq.Context()
        self._push = self._context.socket(zmq.PUSH)
        self._pull = self._context.socket(zmq.PULL)
        for endpoint, name in ((self._push, outward), (self._pull, inward)):
            address = f"ipc://{folder}/{name}"
            (endpoint.bind if first else endpoint.connect)(address)
        self.put = self._push.send
        self.get = self._pull.recv

    def close(self) -> None:
        self._push.close(linger=0)
        self._pull.close(linger=0)
        self._context.term()


class ZeroMQ(Contestant):
    """pyzmq."""

    name = "pyzmq"
    ours = False
    how = "PUSH and PULL over ipc, send and recv of bytes, default high-water marks (1,000)"
    polls = False
    batch_senders = 0

    @classmethod
    def missing(cls) -> str | None:
        return why_missing("zmq")

    @classmethod
    def version(cls) -> str:
        return f"{installed('pyzmq')}, libzmq {imported('zmq').zmq_version()}"

    @classmethod
    @contextmanager
    def plumbing(cls, senders: int) -> Iterator[str]:
        with tempfile.TemporaryDirectory() as folder:
            yield folder

    @classmethod
    def near(cls, plumbing: str, number: int) -> End:
        return _ZeroMQEnd(plumbing, "there", "back", first=False)

    @classmethod
    def far(cls, plumbing: str) -> End:
        return _ZeroMQEnd(plumbing, "back", "there", first=True)


class _FifoEnd(End):
    def __init__(self, outward: Any, inward: Any) -> None:
        self._outward, self._inward = outward, inward
        self.put = outward.put
        self.get = inward.get

    def send_batches(self, payloads: Sequence[bytes], times: int) -> None:
        put_many = self._outward.put_many
        for _ in repeat(None, times):
            put_many(payloads)

    def receive_batches(self, count: int, payload_bytes: int) -> Any:
        get_many = self._inward.get_many
        data = b""
        while count:
            messages = get_many(max_messages_to_get=BATCH)
            count -= len(messages)
            data = messages[-1]
        return data


class FasterFifo(Contestant):
    """faster-fifo."""

    name = "faster-fifo"
    ours = False
    how = "put and get, batches put_many and get_many; 8 MiB; pickles, as it does by default"
    polls = False
    batch_senders = 4

    @classmethod
    def missing(cls) -> str | None:
        return why_missing("faster_fifo")

    @classmethod
    def version(cls) -> str:
        return installed("faster-fifo")

    @classmethod
    @contextmanager
    def plumbing(cls, senders: int) -> Iterator[tuple[Any, Any]]:
        make = imported("faster_fifo").Queue
        yield make(_FIFO_BYTES), make(_FIFO_BYTES)

    @classmethod
    def near(cls, plumbing: tuple[Any, Any], number: int) -> End:
        return _FifoEnd(*plumbing)

    @classmethod
    def far(cls, plumbing: tuple[Any, Any]) -> End:
        there, back = plumbing
        return _FifoEnd(back, there)
