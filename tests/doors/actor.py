"""What runs in the other processes of a test: a nursery that forks, and an actor that obeys.

Stands on the doors. The nursery has everything imported and is attached to nothing, so that an
actor costs a fork. Does not know what is tested: `doors.actors` is the side that does.
"""

import itertools
import os
import pickle
import select
import signal
import socket
import struct
import time
from typing import Any

import numpy as np

from ultrafast.core import Agents, Message, Metrics, Queues, Receiver, Region, Table, now_ns
from ultrafast.core._status import OK

assert np, "imported once here, for every actor: a histogram's answer is an array"

__all__ = ["Actor", "Record", "contents", "main", "put", "take_one"]

Record = tuple[bytes, int, int, int, int, int, int, int, int]
"""Payload, kind, codec, sender, receiver, correlation, sent_ns, reply_queue, extra: a message."""

_LENGTH = struct.Struct("<I")


def put(stream: socket.socket, what: object) -> None:
    """Send one object."""
    data = pickle.dumps(what)
    stream.sendall(_LENGTH.pack(len(data)) + data)


def take_one(stream: socket.socket) -> Any:
    """Receive one object; EOFError when the other end is gone."""

    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = stream.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    return pickle.loads(exactly(*_LENGTH.unpack(exactly(_LENGTH.size))))


def contents(message: Message) -> Record:
    """What a message carries, its flags apart."""
    return (
        message.tobytes(),
        message.kind,
        message.codec,
        message.sender,
        message.receiver,
        message.correlation,
        message.sent_ns,
        message.reply_queue,
        message.extra,
    )


class Actor:
    """One process's place in a region. Messages stay here and are spoken of by their handles."""

    def attach(self, path: str, role: int) -> int:
        self.region = Region.attach(path, role)
        self.queues, self.table = Queues(self.region), Table(self.region)
        self.agents, self.metrics = Agents(self.region), Metrics(self.region)
        self.receivers: dict[int, Receiver] = {}
        self.held: dict[int, Message] = {}
        self.views: dict[int, memoryview] = {}
        return self.region.slot

    def close(self) -> None:
        self.region.close()

    def call(self, door: str, method: str, *arguments: Any) -> Any:
        """Whatever a door answers that can travel."""
        answer = getattr(getattr(self, door), method)(*arguments)
        return list(answer) if method == "keys" else answer

    # --- messages

    def send(self, queue: int, lane: int, record: Record, flags: int) -> int:
        return self.queues.send(queue, lane, *record[:8], flags, 0, record[8])

    def send_batch(self, queue: int, lane: int, records: list[tuple[Record, int]]) -> int:
        items = [(*record[:8], flags, record[8]) for record, flags in records]
        return self.queues.send_batch(queue, lane, items)

    def receiver(self, queue: int) -> Receiver:
        return self.receivers.setdefault(queue, Receiver(self.queues, queue))

    def take(self, queue: int, count: int) -> list[tuple[int, int, int, int, Record]]:
        return self._keep(self.receiver(queue).take(count))

    def adopt(self, queue: int, count: int) -> list[tuple[int, int, int, int, Record]]:
        return self._keep(self.receiver(queue).adopt(count))

    def _keep(self, taken: list[Message]) -> list[tuple[int, int, int, int, Record]]:
        self.held.update({each.handle: each for each in taken})
        return [(e.handle, e.lane, e.flags, e.attempt, contents(e)) for e in taken]

    def view(self, handle: int) -> bytes:
        """Look at the payload in place, and keep looking."""
        self.views[handle] = self.held[handle].payload
        return bytes(self.views[handle])

    def unview(self, handle: int) -> bytes:
        with self.views.pop(handle) as view:
            return bytes(view)

    def release(self, handle: int, twice: bool) -> bool:
        message = self.held.pop(handle)
        message.release()
        if twice:
            message.release()
        return message.released

    def drop(self) -> None:
        """Forget them all: the end of the object gives the block back."""
        self.held.clear()

    def forward(self, handle: int, queue: int, lane: int) -> int:
        status = self.held[handle].forward(queue, lane)
        if status == OK:
            del self.held[handle]
        return status

    def arm(self, queue: int) -> bool:
        return self.receiver(queue).arm_pipe()

    def wait(self, queue: int, timeout_s: float) -> bool:
        return self.receiver(queue).wait(timeout_s)

    def has_orphans(self, queue: int) -> bool:
        return self.receiver(queue).has_orphans

    def rings(self, queue: int) -> bool:
        """True when the pipe was rung; it is emptied."""
        receiver = self.receiver(queue)
        rung = bool(select.select([receiver.fileno()], [], [], 0)[0])
        receiver.drain()
        return rung

    # --- many operations at once, while other processes do theirs

    def send_many(self, start: int, queue: int, records: list[tuple[int, Record]]) -> int:
        """Send each to its lane, again and again until there is room; how often there was none."""
        _at(start)
        refused = 0
        for lane, record in records:
            while self.send(queue, lane, record, 0) != OK:
                refused += 1
                os.sched_yield()
        return refused

    def receive_many(self, start: int, queue: int, last: int) -> list[tuple[int, Record]]:
        """Take until told to stop by a message whose kind is `last`; (lane, record) of each."""
        _at(start)
        receiver = self.receiver(queue)
        got: list[tuple[int, Record]] = []
        while True:
            if not (taken := receiver.take(3)):
                receiver.wait(0.05)
            for message in taken:
                got.append((message.lane, contents(message)))
                message.release()
            if any(record[1] == last for _, record in got[-len(taken) :] if taken):
                return got

    def increment_many(self, start: int, key: str, count: int) -> int:
        """Add one, `count` times, by compare-and-set; how often another was quicker."""
        _at(start)
        lost = 0
        for _ in range(count):
            while True:
                entry = self.table.get_entry("s", key)
                value, stamp = (entry.value, entry.stamp) if entry else (0, 0)
                assert isinstance(value, int)
                _breathe()
                if self.table.compare_and_set("s", key, value + 1, stamp)[0] == OK:
                    break
                lost += 1
        return lost

    def write_many(self, start: int, keys: int, me: int, count: int) -> int:
        """Replace and delete values that can be told whole from torn; how many were stored."""
        _at(start)
        stored = 0
        for turn in range(count):
            body = (b"%d:%d:" % (me, turn)) * (1 + turn % 40)
            stored += self.table.set("s", f"k{turn % keys}", body)
            if turn % 5 == me:
                self.table.delete("s", f"k{(turn + 1) % keys}")
            _breathe()
        return stored

    def read_many(self, start: int, keys: int, count: int) -> tuple[int, list[bytes]]:
        """Read while others write: how many different values, and those that no writer wrote."""
        _at(start)
        seen: set[bytes] = set()
        torn: list[bytes] = []
        for turn in range(count):
            value = self.table.get("s", f"k{turn % keys}")
            if value is not None:
                assert isinstance(value, bytes)
                seen.add(value)
                number, at, _ = value.split(b":", 2)
                if value != b"%b:%b:" % (number, at) * (1 + int(at) % 40):
                    torn.append(value)
            if turn % 4 == 0:
                _breathe()
        return len(seen), torn

    def claim_many(self, start: int, type: int, count: int) -> list[int]:
        """Try to claim warm agents; the ids got."""
        _at(start)
        ids = []
        for _ in range(count):
            if (claimed := self.agents.claim(type, 0, 0, now_ns())) is not None:
                ids.append(claimed[0])
            _breathe()
        return ids

    def turn_over_many(self, start: int, type: int, states: list[int], count: int) -> list[int]:
        """Make an agent, lead it through its states, free it: the ids, none of them twice."""
        _at(start)
        ids: list[int] = []
        while len(ids) < count:
            try:
                id = self.agents.new(type, 0, 0, states[0], 5, 0, now_ns())
            except RuntimeError:  # every record is in use
                _breathe()
                continue
            for old, new in itertools.pairwise(states):
                assert self.agents.move(id, old, new) == OK
                _breathe()
            ids.append(id)
        return ids

    def measure_many(self, start: int, counter: int, hist: int, values: list[int]) -> None:
        _at(start)
        for value in values:
            self.metrics.add(counter, value)
            self.metrics.record(hist, value)
            _breathe()

    def open_many(self, start: int, names: list[str]) -> dict[str, int]:
        _at(start)
        return {name: self.queues.open(name) for name in names}

    def insert_many(self, start: int, keys: list[str], me: int) -> list[str]:
        """Insert each key unless another has: those that were ours."""
        _at(start)
        ours = []
        for key in keys:
            if self.table.compare_and_set("s", key, me, 0)[0] == OK:
                ours.append(key)
            _breathe()
        return ours


def _at(start: int) -> None:
    """A common start: at this moment of the clock that all processes share."""
    if (left := (start - now_ns()) / 1e9 - 0.001) > 0:
        time.sleep(left)
    while now_ns() < start:
        pass


def _breathe() -> None:
    """Let the others run: one time slice would do for all that an actor has to do.

    A yield is not enough, for on a busy machine it goes to processes that are not ours.
    """
    time.sleep(1e-6)


def obey(stream: socket.socket) -> None:
    """Do what is asked, one thing after another, until the other end is gone."""
    actor = Actor()
    while True:
        try:
            name, *arguments = take_one(stream)
        except EOFError:
            os._exit(0)  # as if killed: whatever is left is for recovery
        try:
            put(stream, (True, getattr(actor, name)(*arguments)))
        except Exception as error:  # noqa: BLE001 - it is raised again at the other end
            put(stream, (False, error))


def main(control: int) -> None:
    """Fork an actor for each descriptor that comes; end when nobody is there to send one."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how actors ended
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=control) as orders:
        while True:
            _, descriptors, _, _ = socket.recv_fds(orders, 1, 1)
            if not descriptors:
                os._exit(0)
            with socket.socket(fileno=descriptors[0]) as stream:
                if os.fork() == 0:
                    orders.close()
                    put(stream, (True, os.getpid()))
                    obey(stream)
