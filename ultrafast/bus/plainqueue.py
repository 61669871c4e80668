"""A queue for ordinary threads and processes, and nothing else: `Queue`.

A drop-in for the common part of `multiprocessing.Queue`. It is a small region of its own, whose
file loses its name as soon as it is made: processes find it through a descriptor that they inherit
or are sent, and it is gone with the last of them, however that one ends.

Stands on the doors, the codec, and multiprocessing's way of handing things to a new process. Knows
nothing of agents, subjects or managers; has no thread.
"""

from __future__ import annotations

import os
import pickle
import time
from contextlib import suppress
from multiprocessing import context, reduction, util
from queue import Empty, Full
from typing import Any, Final

from ultrafast.codec import RAW, decode, encode
from ultrafast.config import KIB, MIB
from ultrafast.core import Queues, Region, Sizes
from ultrafast.core._items import Items
from ultrafast.core._region import ROLE_CLIENT
from ultrafast.core._status import OK
from ultrafast.core._waiting import SPIN_US
from ultrafast.core.leftovers import region_path, remove_leftovers
from ultrafast.errors import DecodeError, EncodeError, InvalidArgument

__all__ = ["Queue"]

_PICKLE: Final = 128  # beside the codec's numbers, and never one that it reads
_UNBOUNDED: Final = 8192
_MAXSIZE_MAX: Final = 1 << 21  # blocks of a class have 22 bits, a quarter are in reserve
_PROCESSES: Final = 256
_PATROL_S: Final = 0.2  # how often one who waits looks whether somebody died
_HEAD: Final = 64
# Payload -> its share of memory_bytes, in hundredths; what is left is for the largest.
_CLASSES: Final = ((192, 25), (KIB, 13), (8 * KIB, 12), (64 * KIB, 12))
_MEMORY_MIN: Final = 256 * KIB
_ITEM_MAX: Final = 1 << 30
_SETTINGS_BYTES: Final = 8


class Queue(Items):
    """A queue between threads and processes, used as `multiprocessing.Queue` is.

    Parameters
    ----------
    maxsize : int, optional
        How many items it holds; 0 or less stands for 8192.
    pickle : bool, optional
        Pickle what is not bytes, so that any object arrives as it was. Without it objects are
        encoded as messages are, and arrive in their plain form: see `codec`. Unpickling runs
        whatever the sender wrote, so all senders must be trusted.
    memory_bytes : int, optional
        Memory for items, reserved at once. More is taken where `maxsize` small items need it.
    max_item_bytes : int, optional
        The largest item, encoded.
    directory : path-like, optional
        A memory file system with that much room.
    spin_us : float, optional
        How long, in microseconds, `put` and `get` may look before they sleep; 0 for not at all.
        How long they do follows from how long the last waits were.

    Raises
    ------
    RegionNoSpace
        The directory has too little room.
    InvalidArgument
        A size is out of its range.

    Methods
    -------
    put(obj, block=True, timeout=None)
        Put an object into the queue. `queue.Full` when there was no room, in the time given;
        `MessageTooBig` when it never fits; `EncodeError` when it can't be made bytes.
    get(block=True, timeout=None)
        Take the oldest object out of the queue. `queue.Empty` when there was none, in the time
        given; `DecodeError` when it was pickled and this queue does not unpickle.

    Notes
    -----
    An item is in the queue when `put` returns: there is no thread that sends it later, and nothing
    to join or to lose when this process ends. The items of one thread come out in their order.

    Threads: any, and any process that it is handed to: as an argument of a `multiprocessing`
    process, with every start method, or through a fork. At most 256 processes use it at a time.
    Waits: `put` and `get`, in the kernel after a few microseconds. A process that is killed stops
    nobody: one that waits notices within about 0.2 s, and takes back what the dead one held; an
    item that it was just about to get goes to another.

    `maxsize` items of up to 192 bytes always fit. Larger ones take larger blocks, of which there
    are fewer: by default some 1,000 up to 1 KiB, 120 up to 8 KiB, 15 up to 64 KiB and 3 up to
    1 MiB, and an item may take a block of the next two sizes. With none left, the queue is full.

    Closed, every call raises ValueError, in this process alone.

    Examples
    --------
    >>> from ultrafast import Queue
    >>> queue = Queue(maxsize=2)
    >>> queue.put(b"bytes")
    >>> queue.put({"key": [1, 2.5, None]})
    >>> queue.full()
    True
    >>> queue.get(), queue.get(timeout=1)
    (b'bytes', {'key': [1, 2.5, None]})
    >>> queue.close()
    """

    def __init__(
        self,
        maxsize: int = 0,
        *,
        pickle: bool = False,
        memory_bytes: int = 8 * MIB,
        max_item_bytes: int = MIB,
        directory: str | os.PathLike[str] = "/dev/shm",
        spin_us: float = SPIN_US,
    ) -> None:
        limit = maxsize if maxsize > 0 else _UNBOUNDED
        region, anchor = _make(_sizes(limit, memory_bytes, max_item_bytes), directory)
        self._begin(region, anchor, limit, pickle, spin_us)

    def _begin(
        self, region: Region, anchor: int, limit: int, pickles: bool, spin_us: float
    ) -> None:
        self._limit = limit
        self._pickles = pickles
        self._spin_us = spin_us
        self._closed = False
        self._anchor = anchor
        self._enter(region)

    def _enter(self, region: Region) -> None:
        """Take part, through this attachment."""
        self._region = region
        self._patrol_at = 0.0
        # At this process's end its slot is free at once, and not when somebody finds it dead.
        self._end = util.Finalize(self, _end, args=(region, self._anchor), exitpriority=-50)
        self._join(Queues(region), self._limit, RAW, self._spin_us)

    def _usable(self) -> None:
        """Raise ValueError if it is closed; in a forked child, attach."""
        if self._closed:
            _leave(self._region)  # where `close` found this thread waiting
            raise ValueError(f"{self!r} is closed")
        if not self._here():
            self._enter(_attach(self._anchor))

    def put_nowait(self, obj: Any) -> None:
        """`put` without waiting.

        Parameters
        ----------
        obj : object

        Raises
        ------
        queue.Full
        """
        self.put(obj, False)

    def get_nowait(self) -> Any:
        """`get` without waiting.

        Returns
        -------
        object

        Raises
        ------
        queue.Empty
        """
        return self.get(False)

    def qsize(self) -> int:
        """How many items are in it; already old when it returns.

        Returns
        -------
        int
        """
        self._usable()
        return min(self._count(), self._limit)

    def empty(self) -> bool:
        """Whether there was no item in it.

        Returns
        -------
        bool
        """
        return self.qsize() == 0

    def full(self) -> bool:
        """Whether as many items were in it as `maxsize` allows.

        Returns
        -------
        bool
            It may be False where large items have used up the memory, and `put` waits.
        """
        return self.qsize() >= self._limit

    def close(self) -> None:
        """Use it no longer in this process; what is in it stays for the others. Twice is fine."""
        if self._closed:
            return
        self._closed = True
        if self._here():
            self._end()
        else:
            os.close(self._anchor)  # of a forked child, to which the parent's end means nothing
        self._leave()

    def join_thread(self) -> None:
        """Do nothing: items are in the queue once they were put."""

    def cancel_join_thread(self) -> None:
        """Do nothing: there is no thread."""

    # --- what `put` and `get` come to when they can't be done at once

    def _put(self, obj: Any, block: bool, timeout: float | None) -> None:
        until = _until(block, timeout)
        self._usable()
        payload, codec = self._encode(obj)
        while self._send_within(payload, codec, self._next_wait(until)) != OK:
            self._usable()
            if self._patrol() == 0 and time.monotonic() >= until:
                raise Full

    def _get(self, block: bool, timeout: float | None) -> Any:
        until = _until(block, timeout)
        self._usable()
        while (found := self._take_within(self._next_wait(until))) is None:
            self._usable()
            if self._patrol() == 0 and time.monotonic() >= until:
                raise Empty
        payload, codec = found
        return payload if codec == RAW else self._made(payload, codec)

    def _next_wait(self, until: float) -> float:
        return min(until - time.monotonic(), _PATROL_S)

    def _encode(self, obj: Any) -> tuple[Any, int]:
        if not self._pickles or type(obj) is bytes:
            return encode(obj)
        try:
            return reduction.ForkingPickler.dumps(obj), _PICKLE
        except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
            raise EncodeError(f"a {type(obj).__qualname__} can't be pickled: {error}") from error

    def _made(self, payload: bytes, codec: int) -> Any:
        if codec != _PICKLE:
            return decode(payload, codec)
        if not self._pickles:
            raise DecodeError("an item was pickled, and this queue was made without pickle=True")
        return pickle.loads(payload)

    def _patrol(self) -> int:
        """Now and then, take back what the dead held: how many of them there were."""
        now = time.monotonic()
        if now < self._patrol_at:
            return 0
        self._patrol_at = now + _PATROL_S
        region = self._region
        dead = [info.slot for info in region.owners() if not region.alive(info.slot)]
        return sum(region.recover(slot) is not None for slot in dead)

    # --- to other processes

    def __reduce__(self) -> tuple[Any, ...]:
        # As for multiprocessing's own: a descriptor can only go along with a process that starts.
        context.assert_spawning(self)
        self._usable()
        anchor = reduction.DupFd(self._anchor)
        return _passed, (type(self), anchor, self._limit, self._pickles, self._spin_us)

    def __repr__(self) -> str:
        return f"<ultrafast.Queue maxsize={self._limit}{' closed' if self._closed else ''}>"


def _passed(kind: type[Queue], descriptor: Any, limit: int, pickles: bool, spin_us: float) -> Queue:
    """The queue that a new process was handed."""
    anchor = descriptor.detach()
    os.set_inheritable(anchor, False)
    made = kind.__new__(kind)
    made._begin(_attach(anchor), anchor, limit, pickles, spin_us)
    return made


def _attach(anchor: int) -> Region:
    return Region.attach(f"/proc/self/fd/{anchor}", ROLE_CLIENT)


def _leave(region: Region) -> None:
    try:
        region.close()
    except BufferError:
        pass  # another thread copies or waits


def _end(region: Region, anchor: int) -> None:
    _leave(region)
    os.close(anchor)


def _until(block: bool, timeout: float | None) -> float:
    """When to give up, on the monotonic clock."""
    if not block:
        return 0.0
    return float("inf") if timeout is None else time.monotonic() + timeout


def _make(sizes: Sizes, directory: str | os.PathLike[str]) -> tuple[Region, int]:
    """A region without a name, and a descriptor of it."""
    with suppress(OSError):  # not this queue's trouble, or told better below
        remove_leftovers(directory)  # of one who was killed while the name was there
    name = f"queue-{os.getpid()}-{os.urandom(4).hex()}"
    path = region_path(directory, name)
    region = Region.create(path, sizes)
    try:
        # Apart from those that the region has: this one carries no lock, so it may be inherited.
        return region, os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    finally:
        os.unlink(path)


def _sizes(limit: int, memory_bytes: int, max_item_bytes: int) -> Sizes:
    for name, value, low, high in (
        ("maxsize", limit, 1, _MAXSIZE_MAX),
        ("memory_bytes", memory_bytes, _MEMORY_MIN, 1 << 40),
        ("max_item_bytes", max_item_bytes, 1, _ITEM_MAX),
    ):
        if not low <= value <= high:
            raise InvalidArgument(f"{name} is {value}, and may be {low} to {high}")
    blocks = []
    left = memory_bytes
    for payload, share in _CLASSES:
        block = _HEAD + payload
        count = memory_bytes * share // 100 // block
        left -= count * block
        if payload == _CLASSES[0][0]:
            # A reserve for what processes keep in their caches of free blocks.
            count = max(count, limit + limit // 4 + 64)
        blocks.append((block, max(1, count)))
    largest = _HEAD + -(-max(max_item_bytes, 2 * _CLASSES[-1][0]) // _HEAD) * _HEAD
    blocks.append((largest, max(2, left // largest)))
    return Sizes(
        owners=_PROCESSES,
        buckets=1,
        extensions=0,
        queues=2,
        queue_capacity=1 << max(4, (limit - 1).bit_length()),
        agents=1,
        types=1,
        warm=1,
        shards=1,
        settings_bytes=_SETTINGS_BYTES,
        message_blocks=tuple(blocks),
        value_blocks=((128, 1),),
    )
