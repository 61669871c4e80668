"""`connect`: use a running system's named queues from a process without an event loop.

Stands on the bus's named queues and dead letters. A connection has no inbox: it gets no messages,
answers or publications, and hosts nothing. It has no thread.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ultrafast.bus.deadletters import DeadLetters
from ultrafast.bus.loans import lend, lend_array
from ultrafast.bus.outpost import Outpost
from ultrafast.bus.queuereceiver import QueueReceiver
from ultrafast.bus.wire import Reason
from ultrafast.bus.workqueue import WorkQueue, WorkQueues
from ultrafast.core import Loan, Message, Region
from ultrafast.core._region import ROLE_CLIENT
from ultrafast.core.leftovers import region_path
from ultrafast.metric_names import Counter
from ultrafast.settings import decode_config

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Connection", "connect"]


class Connection:
    """An ordinary process's way to the named queues of a system. Made by `connect`.

    Parameters
    ----------
    region : Region
        Attached; closed with the connection.

    Attributes
    ----------
    config : Config
        The system's.

    Notes
    -----
    Threads: any. `recv` keeps a receiver for each thread and queue. Waits: `send` and `recv`, as
    long as they are told to. A process that is killed loses nothing: what it had received and was
    not done with, another gets.
    """

    def __init__(self, region: Region) -> None:
        self.config = decode_config(region.settings)
        self._region = region
        self._pid = os.getpid()
        self._outpost = Outpost(region, self.config.spin_us)
        self._letters = DeadLetters(self._outpost)
        self._queues = WorkQueues(self._outpost, self.config.max_redeliveries, self._bury)
        self._mine = threading.local()

    def queue(self, name: str) -> WorkQueue:
        """A named queue; the first who names it makes it.

        Parameters
        ----------
        name : str
            1 to 56 bytes of printable text.

        Returns
        -------
        WorkQueue
            Its `put_nowait`, `put_blocking` and `receiver` need no loop.

        Raises
        ------
        NoSlot
            There are `max_named_queues` already.
        """
        return self._queues.queue(name)

    def send(
        self,
        queue: str,
        body: Any,
        *,
        timeout_s: float | None = 0.0,
        priority: str | int = "normal",
        ttl_s: float | None = None,
    ) -> bool:
        """Put an item into a named queue.

        Parameters
        ----------
        queue : str
        body : object
            Anything `ultrafast.codec` encodes.
        timeout_s : float, optional
            While the queue is full, this thread waits so long; None is for ever.
        priority : str or int
        ttl_s : float, optional
            When no consumer comes to it in time it becomes a dead letter.

        Returns
        -------
        bool
            True: accepted; it outlives this process. False: refused.
        """
        return self.queue(queue).put_blocking(body, timeout_s, priority=priority, ttl_s=ttl_s)

    def loan(self, nbytes: int) -> Loan:
        """Memory to write an item into, which is then put without a copy.

        Parameters
        ----------
        nbytes : int

        Returns
        -------
        Loan
            Its `view` is writable. Given to `send`, it arrives as a read-only memoryview.

        Raises
        ------
        PoolExhausted, MessageTooBig
            There is no block of that size free, or none at all.
        """
        return lend(self._outpost.queues, nbytes)

    def loan_array(
        self, shape: int | tuple[int, ...], dtype: Any
    ) -> np.ndarray[Any, np.dtype[Any]]:
        """An array to write in place, which is then put without a copy; as `loan`.

        Parameters
        ----------
        shape : int or tuple of int
        dtype : dtype-like
        """
        return lend_array(self._outpost.queues, shape, dtype)

    def recv(self, queue: str, timeout_s: float | None = None) -> Any:
        """Take the next item of a named queue; what this thread took from it before is done with.

        Parameters
        ----------
        queue : str
        timeout_s : float, optional
            The longest wait; for ever without it.

        Returns
        -------
        object
            Its body.

        Raises
        ------
        Timeout
            None came in the time given.
        """
        return self._receiver(queue).get(timeout_s)

    def done(self, queue: str) -> None:
        """What this thread received from the queue is done with, before it asks for the next.

        Parameters
        ----------
        queue : str
        """
        self._receiver(queue).done()

    def close(self) -> None:
        """Leave the system; what is not done with goes back to its queue. May be called twice.

        Raises
        ------
        BufferError
            Another thread waits in `send` or `recv`, or an array or a view of a loan lives.
        """
        if self._region.closed:
            return
        if os.getpid() == self._pid:  # in a forked child, the place is the parent's
            self._outpost.stop_using()
        self._region.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            for receiver in self._mine.__dict__.values():
                receiver.done()
        self.close()

    def _receiver(self, name: str) -> QueueReceiver:
        receivers: dict[str, QueueReceiver] = self._mine.__dict__
        receiver = receivers.get(name)
        if receiver is None:
            # One at a time: what is not handed out yet must not wait for this thread to come back.
            receiver = receivers[name] = self.queue(name).receiver(1)
        return receiver

    def _bury(self, message: Message, reason: Reason) -> None:
        self._outpost.metrics.add(Counter.DEAD_LETTERED)
        if reason == Reason.EXPIRED:
            self._outpost.metrics.add(Counter.OVERDUE)
        self._letters.put(message, reason)


def connect(name: str, *, directory: str = "/dev/shm") -> Connection:
    """Use the named queues of a running system, from ordinary threads, without an event loop.

    Parameters
    ----------
    name : str
        Its `Config.name`, or `manager.name`; or the path of its region.
    directory : str
        Its `Config.region_path`.

    Returns
    -------
    Connection
        To be closed, or used in `with`.

    Raises
    ------
    RegionError
        There is no such system, or it is not this user's.

    Examples
    --------
    >>> with connect("demo") as bus:  # doctest: +SKIP
    ...     bus.send("pages", b"first")
    ...     bus.recv("pages", timeout_s=1.0)
    """
    region = Region.attach(name if os.sep in name else region_path(directory, name), ROLE_CLIENT)
    try:
        return Connection(region)
    except BaseException:
        region.close()
        raise
