"""The pipe between a manager and a worker, started or adopted: msgpack frames with their length.

It carries what must not travel through shared memory (classes) and what must work when shared
memory does not (the end of the other side). Stands on msgspec and a pair of sockets.
"""

from __future__ import annotations

import socket
import struct
import threading
from typing import Any

import msgspec

from ultrafast.agents.hosting.blocking import Blockage
from ultrafast.agents.registry import AgentType

__all__ = [
    "Adopt",
    "Adopted",
    "Blocked",
    "Failed",
    "Frame",
    "HandedOver",
    "Hello",
    "Pipe",
    "Place",
    "Prepare",
    "Ready",
    "Recycle",
    "Register",
    "Registered",
    "Shutdown",
]

_LENGTH = struct.Struct("<I")


class Place(msgspec.Struct, frozen=True, array_like=True):
    """A process, by its slot in the region and which of those that have had it."""

    slot: int
    incarnation: int


class Hello(msgspec.Struct, frozen=True, tag=True):
    """Manager to worker, first: who you are and how to work."""

    config: bytes
    index: int
    path: str
    concurrency: int
    sys_path: list[str]
    types: list[AgentType]
    manager: Place
    handed_over: bool = False


class Prepare(msgspec.Struct, frozen=True, tag=True):
    """Manager to worker, before Hello: import what you will need, whoever you will be."""

    sys_path: list[str]
    types: list[AgentType]


class Register(msgspec.Struct, frozen=True, tag=True):
    """Manager to worker: a type registered later."""

    kind: AgentType


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """Manager to worker: stop your agents and end."""

    timeout_s: float


class Recycle(msgspec.Struct, frozen=True, tag=True):
    """Manager to worker: hand your agents over to a successor, and end."""

    timeout_s: float


class Adopt(msgspec.Struct, frozen=True, tag=True):
    """The next manager to a worker that lost its own, first: I have this slot, and you are mine."""

    manager: Place
    sys_path: list[str]


class Adopted(msgspec.Struct, frozen=True, tag=True):
    """Worker to its next manager: I am yours; these types I know."""

    index: int
    types: list[AgentType]


class Ready(msgspec.Struct, frozen=True, tag=True):
    """Worker to manager: I take messages."""

    slot: int
    restored: int


class HandedOver(msgspec.Struct, frozen=True, tag=True):
    """Worker to manager: I end; whole says that no handler was cut short."""

    whole: bool


class Registered(msgspec.Struct, frozen=True, tag=True):
    """Worker to manager: the type is known here, or why not."""

    name: str
    error: str | None


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Worker to manager: I can't start, and why."""

    error: str


class Blocked(msgspec.Struct, frozen=True, tag=True):
    """Worker to manager: an agent keeps my loop from turning."""

    blockage: Blockage


Frame = (
    Prepare
    | Hello
    | Adopt
    | Adopted
    | Register
    | Recycle
    | Shutdown
    | Ready
    | Registered
    | HandedOver
    | Failed
    | Blocked
)
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)


class Pipe:
    """One end. `send` from anywhere; `receive` waits, in one thread; `feed` is for a loop."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._sending = threading.Lock()
        self._buffer = bytearray()

    def send(self, frame: Any) -> bool:
        """Send a frame whole: False when the other end is gone."""
        data = _encoder.encode(frame)
        try:
            with self._sending:
                self.socket.sendall(_LENGTH.pack(len(data)) + data)
        except OSError:
            return False
        return True

    def receive(self) -> Frame | None:
        """The next frame, waiting for it; None when the other end is gone."""
        while True:
            frames = self._take()
            if frames is not None:
                return frames
            try:
                data = self.socket.recv(1 << 16)
            except OSError:
                return None
            if not data:
                return None
            self._buffer += data

    def feed(self) -> tuple[list[Frame], bool]:
        """What has arrived, without waiting, and whether the other end is still there."""
        alive = True
        try:
            data = self.socket.recv(1 << 16, socket.MSG_DONTWAIT)
            alive = bool(data)
            self._buffer += data
        except BlockingIOError:
            pass
        except OSError:
            alive = False
        frames = []
        while (frame := self._take()) is not None:
            frames.append(frame)
        return frames, alive

    def close(self) -> None:
        """May be called twice."""
        self.socket.close()

    def _take(self) -> Frame | None:
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        frame = _decoder.decode(bytes(self._buffer[_LENGTH.size : end]))
        del self._buffer[:end]
        return frame
