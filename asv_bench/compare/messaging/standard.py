"""What Python brings along: multiprocessing's Queue and Pipe, and socketpair."""

from __future__ import annotations

import multiprocessing
import platform
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import repeat
from multiprocessing.connection import Connection, wait
from typing import Any

from .ends import Contestant, End

__all__ = ["BareSockets", "StandardPipe", "StandardQueue"]

_SPAWN = multiprocessing.get_context("spawn")
_CAPACITY = 1_024
_PACKET_BYTES = 1 << 17  # of the largest message that is received
_READ_BYTES = 1 << 16


class _Standard(Contestant):
    ours = False
    polls = False
    batch_senders = 0

    @classmethod
    def missing(cls) -> str | None:
        return None

    @classmethod
    def version(cls) -> str:
        return f"Python {platform.python_version()}"


class _QueueEnd(End):
    def __init__(self, outward: Any, inward: Any) -> None:
        self._outward = outward
        self.put = outward.put
        self.get = inward.get

    def close(self) -> None:
        self._outward.cancel_join_thread()


class StandardQueue(_Standard):
    """`multiprocessing.Queue`."""

    name = "multiprocessing.Queue"
    how = "put and get of bytes, maxsize 1,024; its feeder thread pickles and writes to a pipe"

    @classmethod
    @contextmanager
    def plumbing(cls, senders: int) -> Iterator[tuple[Any, Any]]:
        there, back = _SPAWN.Queue(_CAPACITY), _SPAWN.Queue(_CAPACITY)
        try:
            yield there, back
        finally:
            for queue in (there, back):
                queue.close()
                queue.cancel_join_thread()

    @classmethod
    def near(cls, plumbing: tuple[Any, Any], number: int) -> End:
        return _QueueEnd(*plumbing)

    @classmethod
    def far(cls, plumbing: tuple[Any, Any]) -> End:
        there, back = plumbing
        return _QueueEnd(back, there)


class _PipeEnd(End):
    def __init__(self, outward: Connection, inward: Sequence[Connection]) -> None:
        self._inward = inward
        self.put = outward.send_bytes
        self.get = inward[0].recv_bytes

    def receive_all(self, count: int, payload_bytes: int) -> bytes:
        if len(self._inward) == 1:
            return bytes(super().receive_all(count, payload_bytes))
        data = b""
        while count:
            for readable in wait(self._inward):
                assert isinstance(readable, Connection)
                data = readable.recv_bytes()
                count -= 1
        return data


class StandardPipe(_Standard):
    """`multiprocessing.Pipe`."""

    name = "multiprocessing.Pipe"
    how = (
        "one-way pipes, send_bytes and recv_bytes; of four senders each has its own, and the"
        " receiver waits with multiprocessing.connection.wait"
    )

    @classmethod
    @contextmanager
    def plumbing(cls, senders: int) -> Iterator[list[tuple[Connection, Connection]]]:
        # The ways there, and last the way back; (receiving end, sending end) each.
        pipes = [_SPAWN.Pipe(duplex=False) for _ in range(senders + 1)]
        try:
            yield pipes
        finally:
            for pair in pipes:
                for connection in pair:
                    connection.close()

    @classmethod
    def near(cls, plumbing: list[tuple[Connection, Connection]], number: int) -> End:
        return _PipeEnd(plumbing[number][1], [plumbing[-1][0]])

    @classmethod
    def far(cls, plumbing: list[tuple[Connection, Connection]]) -> End:
        return _PipeEnd(plumbing[-1][1], [receiving for receiving, _ in plumbing[:-1]])


class _SocketEnd(End):
    """Packets one by one; a stream for batches, cut up by the size that all messages have."""

    def __init__(self, packets: socket.socket, stream: socket.socket) -> None:
        self._packets = packets
        self._stream = stream
        self.put = packets.send
        self.get = partial(packets.recv, _PACKET_BYTES)

    def send_batches(self, payloads: Sequence[bytes], times: int) -> None:
        sendall = self._stream.sendall
        for _ in repeat(None, times):
            sendall(b"".join(payloads))

    def receive_batches(self, count: int, payload_bytes: int) -> bytes:
        recv = self._stream.recv
        left = count * payload_bytes
        rest = data = b""
        while left:
            chunk = recv(min(left, max(_READ_BYTES, payload_bytes)))
            if not chunk:
                raise EOFError(f"the stream ended {left} bytes early")
            left -= len(chunk)
            rest += chunk
            whole = len(rest) - len(rest) % payload_bytes
            for at in range(0, whole, payload_bytes):
                data = rest[at : at + payload_bytes]
            rest = rest[whole:]
        return data

    def close(self) -> None:
        self._packets.close()
        self._stream.close()


class BareSockets(_Standard):
    """`socket.socketpair`."""

    name = "socketpair"
    batch_senders = 1  # several would tear each other's batches in the stream
    how = (
        "AF_UNIX, SOCK_SEQPACKET: one send and one recv a message, four senders share one end;"
        " batches: SOCK_STREAM, joined, read by 64 KiB and cut up"
    )

    @classmethod
    @contextmanager
    def plumbing(cls, senders: int) -> Iterator[list[socket.socket]]:
        with ExitStack() as stack:
            made = []
            for kind in (socket.SOCK_SEQPACKET, socket.SOCK_STREAM):
                made += [stack.enter_context(end) for end in socket.socketpair(type=kind)]
            yield made

    @classmethod
    def near(cls, plumbing: list[socket.socket], number: int) -> End:
        return _SocketEnd(plumbing[0], plumbing[2])

    @classmethod
    def far(cls, plumbing: list[socket.socket]) -> End:
        return _SocketEnd(plumbing[1], plumbing[3])
