"""`Endpoint`: one process's place in the region: its inbox, the loop that empties it, its requests.

Stands on the doors. It knows that messages have kinds and that replies find the request they
answer; what a kind means is its handlers' business.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Container, Mapping
from typing import Any, Final

from ultrafast import codec as bodies
from ultrafast.bus import tracing
from ultrafast.bus.answers import value_of
from ultrafast.bus.lookout import Lookout
from ultrafast.bus.outpost import Outpost
from ultrafast.bus.wire import PRIORITIES, REPLY_LANE, Kind, lane_of
from ultrafast.core import (
    Agents,
    Handover,
    Incoming,
    Message,
    Receiver,
    Region,
    Seat,
    Sender,
    Table,
    now_ns,
)
from ultrafast.core._asking import Asker
from ultrafast.core._bodies import Bodies
from ultrafast.core._requests import Requests
from ultrafast.core._waiting import SPIN_US
from ultrafast.core._walkers import Walkers
from ultrafast.errors import QueueFull, RegionClosed
from ultrafast.metric_names import Counter, Histogram

__all__ = ["Endpoint"]

log = logging.getLogger(__name__)

# Messages given up at once by one who leaves.
_BATCH: Final = 64
# Then other callbacks of the loop have their turn.
_TURN_NS: Final = 1_000_000
# Of looking at an empty inbox: what another callback waits at most.
_SLICE_NS: Final = 5_000
# Between two looks for requests whose time is over: an answer is given up so much too late.
_SWEEP_S: Final = 0.001
_LONGEST_S: Final = 1e9


def _body_in_place(payload: memoryview, codec: int) -> Any:
    return bodies.decode(payload, codec, in_place=True)


class Endpoint(Outpost):
    """A process's inbox and the doors it sends through.

    Parameters
    ----------
    region : Region
        Attached; the endpoint does not close it.
    inbox : str
        Name of the queue that this process empties. A process that takes the place of a dead one
        gives the same name, and with it gets the messages.
    spin_us : float
        The longest look of a thread's wait before it sleeps.
    loop_spin_ns : int
        How long the loop looks at an empty inbox before sleeping, when messages are expected that
        soon.

    Notes
    -----
    Threads: `post` may be called from any thread of the process; everything else from the loop's.
    """

    def __init__(
        self, region: Region, inbox: str, spin_us: float = SPIN_US, loop_spin_ns: int = 0
    ) -> None:
        super().__init__(region, spin_us)
        self.agents = Agents(region)
        self.table = Table(region)
        self.inbox = inbox
        self.index = self.queues.open(inbox)
        self.receiver = Receiver(self.queues, self.index)
        region.set_queue(self.index)
        encoded = Bodies(
            bodies.encode, bodies.encode_msgpack, bodies.decode_msgpack, bodies.MSGPACK
        )
        self.sender = Sender(
            self.queues,
            self.agents,
            self.metrics,
            self.correlations,
            int(Kind.DATA),
            bodies.RAW,
            encoded,
            PRIORITIES,
            lane_of,
            tracing.current,
            (int(Counter.SENT), int(Counter.REFUSED)),
        )
        self._handover = Handover(
            self.agents,
            self.metrics,
            self.dispatch,
            (int(Counter.DELIVERED), int(Counter.HANDLED)),
            (int(Histogram.LOCAL_COMMUNICATION), int(Histogram.COMMUNICATION)),
        )
        self._requests = Requests(self._sweep_at)
        self._handover.answer_by(
            self.queues,
            self._requests,
            encoded,
            (int(Kind.REPLY), int(Kind.ERROR)),
            self.index,
            REPLY_LANE,
            int(Counter.REPLIES),
        )
        self.asker = Asker(
            self.sender,
            self.receiver,
            self._handover,
            self._requests,
            self._drain_again,
            self._raise_later,
            value_of,
            int(Kind.REPLY),
            int(Histogram.REQUEST),
        )
        self._lookout = Lookout(loop_spin_ns)
        self._handlers: dict[int, Callable[[Message], None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fd = -1
        self._again: asyncio.Handle | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_pause_s = _SWEEP_S
        self._context = contextvars.copy_context()

    # --- receiving

    def on(self, kind: Kind, handler: Callable[[Message], None]) -> None:
        """Say who gets messages of a kind. The handler owns the message and must release it."""
        self._handlers[int(kind)] = handler

    def seat(
        self,
        seats: Mapping[int, Seat],
        incoming: type[Incoming],
        ended: Callable[[Any, Message, Any], object],
        raised: Callable[[Any, Message, BaseException], object],
    ) -> Callable[[Message], Any]:
        """Have plain DATA messages handled where their receivers sit; `Handover.seat` says how.

        Returns
        -------
        callable
            Makes of a message what handlers get.
        """
        self._handover.seat(
            seats, incoming, int(Kind.DATA), bodies.RAW, _body_in_place, ended, raised
        )
        return self._handover.incoming

    def walk_by(self, walkers: Walkers, rest: Callable[[Any], object]) -> None:
        """Have handlers' coroutines begun at once; `Handover.walk_by` says how."""
        self._handover.walk_by(walkers, rest)

    def handle(self, seat: Seat, message: Message) -> bool:
        """Have a plain message handled by who has just been seated; False: it is not plain."""
        return self._handover.handle(seat, message)

    def call_roll(self, ids: Any) -> tuple[int, list[int]]:
        """Have those who sit here, and are free, give a sign of life: how many, and the others."""
        return self._handover.call_roll(ids)

    def has_for(self, ids: Container[int]) -> bool:
        """Whether a message that was taken and not handed out yet is for one of these."""
        return self._handover.has_for(ids)

    def start(self) -> None:
        """Begin to empty the inbox, on the running loop; a dead predecessor's messages first."""
        self._loop = asyncio.get_running_loop()
        self.asker.run_on(self._loop, self._context)
        self._fd = self.receiver.fileno()
        self._loop.add_reader(self._fd, self._rung)
        self._drain()

    def stop(self) -> None:
        """Take no more messages; what is in the inbox stays there. May be called twice."""
        if self.closed:
            return
        self.stop_using()
        self._handover.stopped = True
        for handle in (self._again, self._sweep):
            if handle is not None:
                handle.cancel()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._fd)
        self._requests.fail(lambda: RegionClosed("the system was shut down before the answer came"))

    @property
    def waiting(self) -> int:
        """Messages that were taken from the inbox and not handed out yet."""
        return self._handover.waiting

    def pause(self) -> None:
        """Take no more messages, and leave everything else as it is: for one who hands over."""
        self._handover.stopped = True
        if self._again is not None:
            self._again.cancel()
        self._at_home.remove_reader(self._fd)

    def leave(self) -> None:
        """Stop for good: the inbox is emptied and its name given up. For a process without heir."""
        self.stop()
        self.region.set_queue(None)
        while batch := self._handover.take_back() or self.receiver.take(_BATCH):
            for message in batch:
                message.release()
        self.queues.close(self.index)

    def _rung(self) -> None:
        self.receiver.drain()
        self._drain()

    def _drain(self) -> None:
        self._again = None
        if self.closed:
            return
        try:
            empty = self._empty(now_ns() + _TURN_NS)
        except BaseException:
            # Of an agent that ends the process, or of a damaged queue: the others' messages go on.
            self._soon()
            raise
        if not empty:
            self._soon()

    def _drain_again(self) -> None:
        """Empty the inbox now, whether somebody rang or not; what was to look again need not."""
        if self._again is not None:
            self._again.cancel()
        self._drain()

    def _raise_later(self, error: BaseException) -> None:
        """Raise where nobody's request is in the way: out of the loop, as `_drain` does."""

        def throw() -> None:
            raise error

        self._at_home.call_soon(throw)

    def _soon(self) -> None:
        if not self.closed and not self.region.closed:
            # Not in the context of whoever sent: handlers run here.
            self._again = self._at_home.call_soon(self._drain, context=self._context)

    @property
    def _at_home(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None
        return self._loop

    def _empty(self, until_ns: int) -> bool:
        """Hand out what there is until the time has come; True: it is empty, and watched."""
        while True:
            empty = self._handover.run(self.receiver, until_ns)
            if self._handover.filled_ns:
                self._lookout.filled(self._handover.filled_ns)
            if not empty:
                return False
            if self._lookout.ran_empty(now_ns()):
                self._again = self._at_home.call_soon(self._look)
                return True
            if self.receiver.arm_pipe():
                return True

    def _look(self) -> None:
        """Look at the empty inbox for a slice of the budget, between the loop's other callbacks."""
        self._again = None
        if self.closed or self.region.closed:
            return
        if self.receiver.look(_SLICE_NS):
            self._drain()
        elif now_ns() < self._lookout.until_ns:
            self._again = self._at_home.call_soon(self._look)
        elif not self.receiver.arm_pipe():
            self._drain()

    def dispatch(self, message: Message) -> None:
        """Hand one message to the handler of its kind."""
        handler = self._handlers.get(message.kind)
        try:
            if handler is None:
                log.warning("message of kind %d has no handler here", message.kind)
                message.release()
            else:
                handler(message)
        except Exception:
            log.exception("the handler of %s messages failed", message.kind)
            message.release()

    # --- asking

    def expect(self, correlation: int, timeout_s: float) -> asyncio.Future[Message]:
        """A future for the answer that carries this correlation; `TimeoutError` after the time."""
        future: asyncio.Future[Message] = self._at_home.create_future()
        until_ns = now_ns() + int(min(max(timeout_s, 0.0), _LONGEST_S) * 1e9)
        self._requests.expect(correlation, until_ns, future)
        return future

    async def ask(
        self,
        queue: int,
        lane: int,
        payload: Any,
        kind: Kind,
        *,
        timeout_s: float,
        codec: int = 0,
        sender: int = 0,
        receiver: int = 0,
        sent_ns: int = 0,
        extra: int = 0,
    ) -> Message:
        """Send a request and wait for the answer, which the caller releases.

        Raises
        ------
        QueueFull
            The queue did not take it within the time.
        TimeoutError
            No answer came within the time.
        """
        correlation = self.correlation()
        future = self.expect(correlation, timeout_s)
        sent = await self.post_within(
            timeout_s,
            queue,
            lane,
            payload,
            int(kind),
            codec,
            sender,
            receiver,
            correlation,
            sent_ns,
            self.index + 1,
            0,
            extra,
        )
        if not sent:
            future.cancel()
            raise QueueFull(
                f"queue {self.queues.name(queue)!r} had no room at lane {lane} for a request in "
                f"{timeout_s:g} s"
            )
        return await future

    def _sweep_at(self, at_ns: int) -> None:
        """End the requests whose time is over, then; the latest call counts."""
        if self._sweep is not None:
            self._sweep.cancel()
        wait_s = max((at_ns - now_ns()) / 1e9, self._sweep_pause_s)
        self._sweep = self._at_home.call_later(wait_s, self._sweep_now)

    def _sweep_now(self) -> None:
        self._sweep = None
        began_ns = now_ns()
        next_ns = self._requests.sweep(began_ns)
        # However many wait, and however their times lie: a small part of the loop's time.
        self._sweep_pause_s = max(_SWEEP_S, (now_ns() - began_ns) * 20e-9)
        if next_ns is not None and not self.closed:
            self._sweep_at(next_ns)
