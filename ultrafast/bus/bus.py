"""`UltraFastCommunicationBus`: messages, requests, publications, dead letters.

Stands on an `Endpoint`. It finds the worker that hosts an agent, encodes bodies and counts what
became of each message; it starts no agent and runs no handler but those of subscriptions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from ultrafast.bus.consumer import Acknowledge, Consumer
from ultrafast.bus.deadletters import DeadLetter, DeadLetters
from ultrafast.bus.directory import Directory
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.groups import GroupKeeper, Groups
from ultrafast.bus.loans import lend, lend_array
from ultrafast.bus.publications import Publications
from ultrafast.bus.replies import Replies
from ultrafast.bus.subscription import Publication, Subscription, WhenFull
from ultrafast.bus.undelivered import Undelivered
from ultrafast.bus.wire import Kind, Operation, Reason, lane_of, ttl_ms_of
from ultrafast.bus.workqueue import WorkQueue, WorkQueues
from ultrafast.core import Loan, Message, now_ns
from ultrafast.core._status import FULL, STALE
from ultrafast.errors import AgentGone, QueueFull
from ultrafast.metric_names import Counter

if TYPE_CHECKING:
    import numpy as np

__all__ = ["UltraFastCommunicationBus"]


class UltraFastCommunicationBus:
    """Messages between agents, publications and named queues, over every process of a system.

    Parameters
    ----------
    endpoint : Endpoint
        This process's.
    handlers : int
        Subscription callbacks under way at once in this process.
    max_redeliveries : int
        How often an item of a named queue may come again after its consumer's death.

    Notes
    -----
    Threads: `send_nowait` from any; everything else from the loop's.
    """

    def __init__(self, endpoint: Endpoint, *, handlers: int = 8, max_redeliveries: int = 3) -> None:
        self._endpoint = endpoint
        self._agents = endpoint.agents
        self._metrics = endpoint.metrics
        self._sender = endpoint.sender
        self._sender.again_by(self.send)
        self._asker = endpoint.asker
        self._asker.wait_by(self._wait, self._ask_again)
        self._letters = DeadLetters(endpoint)
        self.say: Callable[[str, Any], object] = lambda subject, payload: None
        self.ahead: Callable[[], None] = lambda: None
        self.directory = Directory(endpoint)
        self._replies = Replies(endpoint)
        self._undelivered = Undelivered(
            endpoint, self._letters, self._route, self._replies, lambda *event: self.say(*event)
        )
        self._queues = WorkQueues(endpoint, max_redeliveries, self.dead_letter)
        self._publications = Publications(
            endpoint,
            handlers,
            Groups(endpoint, self._queues, self.directory),
            self.dead_letter,
            self._letters.put_payload,
            lambda: self.ahead(),
        )
        self._keeper = GroupKeeper(endpoint, self.directory, self.dead_letter)

    # --- messages

    def send_nowait(
        self,
        sender: int | None,
        receiver: int,
        body: Any,
        *,
        priority: str | int = "normal",
        sent_ns: int = 0,
        ttl_s: float | None = None,
    ) -> bool:
        """Send a message to an agent, or be refused at once.

        Parameters
        ----------
        sender : int or None
            The agent that sends, None for none.
        receiver : int
            The agent it is for.
        body : object
            Anything `ultrafast.codec` encodes.
        priority : str or int
        sent_ns : int
            The intended send time (CLOCK_MONOTONIC); now, when not given.
        ttl_s : float, optional
            When its handler has not begun so long after that time, it is not handled but becomes
            a dead letter.

        Returns
        -------
        bool
            True: accepted, and it will be delivered. False: its mailbox or its worker's queue is
            full, or the pool has no block; nothing was sent.

        Raises
        ------
        AgentGone
            There is no such agent any more.
        EncodeError
            The body can't be encoded.
        """
        return self._sender.send(
            sender or 0,
            receiver,
            body,
            priority,
            sent_ns,
            0 if ttl_s is None else ttl_ms_of(ttl_s),
        )

    async def send(
        self,
        sender: int | None,
        receiver: int,
        body: Any,
        *,
        priority: str | int = "normal",
        timeout_s: float = 0.0,
        ttl_s: float | None = None,
    ) -> bool:
        """`send_nowait`; when refused, tried again for `timeout_s` at most."""
        started = now_ns()
        if self.send_nowait(
            sender, receiver, body, priority=priority, sent_ns=started, ttl_s=ttl_s
        ):
            return True
        until = time.monotonic() + timeout_s
        pause = 0.0005
        while time.monotonic() < until:
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.01)
            if self.send_nowait(
                sender, receiver, body, priority=priority, sent_ns=started, ttl_s=ttl_s
            ):
                return True
        return False

    def send_many_nowait(
        self,
        sender: int | None,
        items: Sequence[tuple[int, Any]],
        *,
        priority: str | int = "normal",
    ) -> list[bool]:
        """Send many messages: for each, whether it was accepted.

        The messages of one worker are accepted up to the first that its queue refuses. When one
        can't be encoded, is too large, or is for an agent that is gone, none is sent, and the error
        says why.
        """
        return self._sender.send_many(sender or 0, items, priority)

    def request(
        self,
        sender: int | None,
        receiver: int,
        body: Any,
        *,
        priority: str | int = "normal",
        timeout_s: float = 5.0,
        kind: Kind = Kind.DATA,
        ttl_s: float | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Send a message and wait for what the agent's handler returns.

        Raises
        ------
        AgentGone
            There is no such agent, or it stopped before it answered.
        AgentError
            Its handler raised; an error of this library is raised as itself.
        QueueFull, TimeoutError
            Its mailbox or its worker's queue had no room, or no answer came, within `timeout_s`.
        MessageExpired
            Its handler had not begun `ttl_s` after the call.
        MessageNotRepeated
            Its worker died with the message, which may not be delivered again.
        """
        extra = 0 if ttl_s is None else ttl_ms_of(ttl_s)
        return self._asker.request(sender or 0, receiver, body, priority, timeout_s, extra, kind)

    async def _wait(
        self,
        future: asyncio.Future[Message],
        number: int,
        started: int,
        sender: int,
        receiver: int,
        priority: str | int,
        timeout_s: float,
        kind: int,
    ) -> Any:
        """What the answer to a request says that is under way."""
        try:
            answer = await future
        except asyncio.CancelledError:
            if kind == Kind.TASK:
                self._call_off(receiver, number, priority)
            raise
        except TimeoutError:
            self._metrics.add(Counter.EXPIRED)
            if kind == Kind.TASK:
                self._call_off(receiver, number, priority)
            raise TimeoutError(
                f"agent {receiver:#x} did not answer within {timeout_s:g} s"
            ) from None
        return self._asker.value(answer, started)

    def _call_off(self, receiver: int, number: int, priority: str | int) -> None:
        """Tell an agent's host that nobody waits for a task any more: by the lane that the task
        went, for not to overtake it. A full queue is not told; the task's time ends all the same.
        """
        info = self._agents.look(receiver)
        if info is not None and not self._endpoint.closed:
            head = (int(Kind.CONTROL), 0, 0, receiver, number, now_ns(), 0, 0)
            lane = lane_of(priority)
            self._endpoint.post(info.worker, lane, b"", *head, int(Operation.CANCEL))

    async def _ask_again(
        self,
        started: int,
        sender: int,
        receiver: int,
        body: Any,
        priority: str | int,
        timeout_s: float,
        extra: int,
        kind: int,
    ) -> Any:
        """Ask until the request is accepted, then wait for its answer; or its time is over."""
        pause_s = 0.0002
        while (left_s := timeout_s - (now_ns() - started) / 1e9) > 0:
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 2, 0.01)
            left_s = timeout_s - (now_ns() - started) / 1e9
            asked = self._asker.ask(sender, receiver, body, priority, left_s, extra, kind, started)
            if asked is not None:
                there, answer, number = asked
                if there:
                    return answer
                about = (sender, receiver, priority, timeout_s, kind)
                return await self._wait(answer, number, started, *about)
        self._metrics.add(Counter.SENT)
        self._metrics.add(Counter.REFUSED)
        raise QueueFull(
            f"the mailbox of agent {receiver:#x}, or its worker's queue, was full for "
            f"{timeout_s:g} s"
        )

    def reply(self, message: Message, value: Any) -> None:
        """Answer a request with a value; a message that asked for no answer is passed over."""
        self._replies.value(message, value)

    def reply_error(self, message: Message, error: BaseException) -> None:
        """Answer a request with an error, by the name of its class and its sentence."""
        self._replies.error(message, error)

    # --- loans

    def loan(self, nbytes: int) -> Loan:
        """Memory of the region to write a payload into: what is sent then is not copied.

        Parameters
        ----------
        nbytes : int

        Returns
        -------
        Loan
            A body for every call that sends. ``with loan.view as view`` gives its bytes, writable.
            An accepted send takes it; one that is dropped goes back. Its reader gets a read-only
            memoryview of the same bytes, which keeps the block.

        Raises
        ------
        PoolExhausted
            There is no free block of this size.
        MessageTooBig
            No block is so large.
        """
        return lend(self._endpoint.queues, nbytes)

    def loan_array(
        self, shape: int | tuple[int, ...], dtype: Any = float
    ) -> np.ndarray[Any, np.dtype[Any]]:
        """An array that lies in the region: to be filled, and sent as it is, without a copy.

        Parameters
        ----------
        shape : int or tuple of int
        dtype : numpy.dtype
            Of numbers, bools, bytes, text or times.

        Returns
        -------
        ndarray
            It holds what the block held: no zeros are written. An accepted send makes it
            read-only, for its reader has it then; views of it that were made before stay writable,
            and must not be written to.

        Raises
        ------
        PoolExhausted, MessageTooBig
            As `loan`.
        EncodeError
            An array of this dtype can't be sent.
        """
        return lend_array(self._endpoint.queues, shape, dtype)

    # --- publications

    async def publish(
        self,
        subject: str,
        payload: Any,
        *,
        priority: str | int = "normal",
        timeout_s: float = 0.0,
        ttl_s: float | None = None,
    ) -> bool:
        """Give a payload to every subscription that matches, in every process.

        Of a queue group one member gets it: the first that is free of those who joined under the
        same pattern; where several patterns of a group match, one is drawn at random.

        Returns
        -------
        bool
            Whether every process's queue, and one queue of every group, accepted it within
            `timeout_s`; others may have it.
        """
        return await self._publications.publish(
            subject, payload, priority=priority, timeout_s=timeout_s, ttl_s=ttl_s
        )

    def subscribe(
        self,
        pattern: str,
        callback: Callable[[Publication], Any] | None = None,
        *,
        queue_group: str | None = None,
        buffer: int = 1024,
        when_full: WhenFull = "drop-oldest",
    ) -> Subscription:
        """Receive what is published under a pattern, by callback or by iterating.

        Parameters
        ----------
        pattern : str
            A subject in which `*` stands for one token and a last `>` for one or more.
        callback : callable, optional
            Called with each `Publication`; it may be a coroutine function.
        queue_group : str, optional
            Share the publications with all other members, in any process: each goes to one of
            them. It is acknowledged when the callback ends, or the next is asked for; what a
            killed member had, another gets, marked redelivered. A member takes one at a time, so
            `buffer` and `when_full` do not matter.
        buffer : int
            Publications that may wait in this process for an iterator, or a slow callback.
        when_full : {"drop-oldest", "block", "dead-letter"}
            drop-oldest: the oldest gives way, counted. dead-letter: it becomes a dead letter with
            the reason `slow_consumer`. block: `publish` waits, and answers False after its
            `timeout_s`; the subscription has a queue of its own in the region for that, one of
            `max_named_queues`, and `buffer` is how much may wait there.

        Raises
        ------
        SubjectError
            The pattern is none.
        NoSlot
            There are `max_named_queues`.
        """
        return self._publications.subscribe(
            pattern, callback, queue_group=queue_group, buffer=buffer, when_full=when_full
        )

    def tend_groups(self) -> None:
        """Make dead letters of what waits for groups without members; the manager's work."""
        self._keeper.tend()

    # --- named queues

    def queue(self, name: str) -> WorkQueue:
        """A named queue, which any process of the system may put to and consume from.

        Parameters
        ----------
        name : str
            1 to 56 bytes of printable text. The first who names a queue makes it.

        Raises
        ------
        NoSlot
            There are `max_named_queues` already.
        """
        return self._queues.queue(name)

    def consume(
        self, queue_id: str, max_batch: int = 32, acknowledge: Acknowledge = "auto"
    ) -> Consumer:
        """Take items from a named queue, of which each goes to one consumer.

        Parameters
        ----------
        queue_id : str
            The queue's name.
        max_batch : int
            Items taken at once, up to 1024. Those that wait in this process for their turn are not
            for other consumers: 1 shares slow work most evenly.
        acknowledge : {"auto", "manual"}
            auto: an item is released when the next one, or the next batch, is asked for. manual:
            by `WorkItem.release`, or at the end of ``async with item``.

        Returns
        -------
        Consumer
            An async iterator; `Consumer.batch` takes many. To be closed, or used in `async with`.

        Notes
        -----
        What a killed consumer had and did not release, another gets, marked redelivered; after
        `max_redeliveries` such deaths it becomes a dead letter, `poisonous`.
        """
        return self._queues.queue(queue_id).consume(max_batch, acknowledge=acknowledge)

    # --- dead letters

    def dead_letter(self, message: Message, reason: Reason) -> None:
        """Put a message that can't be delivered where people find it; its asker gets an error."""
        self._undelivered.bury(message, reason)

    def dead_letters(self, limit: int = 1000, *, reason: str | None = None) -> list[DeadLetter]:
        """Read dead letters, oldest first; only those with this reason, if one is given.

        They stay until they are taken, sent again or pushed out.
        """
        return self._letters.read(limit, reason)

    def take_dead_letters(self, limit: int = 1000) -> list[DeadLetter]:
        """Take dead letters out of their queue, oldest first."""
        return self._letters.take(limit)

    def resend(self, letter: DeadLetter) -> bool:
        """Send a dead letter again to the agent or the queue that it was for, and take it out.

        It counts as a new message, without a time to live; nobody waits for its answer.

        Returns
        -------
        bool
            False: refused as `send_nowait` refuses, and it is still a dead letter.

        Raises
        ------
        EntryMissing
            It is no dead letter any more, or the queue that it was in is gone.
        AgentGone
            Its receiver has ended; it is still a dead letter.
        """
        return self._undelivered.resend(letter)

    # --- helpers

    def _route(self, receiver: int) -> int:
        """The queue of an agent's worker; FULL when its mailbox is."""
        worker = self._agents.route(receiver)
        if worker == STALE:
            raise AgentGone(f"there is no agent {receiver:#x}: it stopped, failed or never was")
        return FULL if worker < 0 else worker
