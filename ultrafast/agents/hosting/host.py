"""`AgentHost`: the agents of one process, and what happens to each message that arrives for them.

Stands on the bus and on `Moving`, which knows how agents come and go. One message at a time for
each agent; a handler that does not suspend costs no task. The plain case (a message come for the
first time, an agent that is free, a handler that returns) is the endpoint's door's; everything else
comes here.
The same class serves a worker process and a manager without workers.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import msgspec

from ultrafast.agents.agent import IncomingMessage
from ultrafast.agents.context import Context, SystemContext
from ultrafast.agents.hosting.errands import Errands, within_time
from ultrafast.agents.hosting.hosted import Hosted, Repeats
from ultrafast.agents.hosting.moving import Moving
from ultrafast.agents.hosting.timers import Due
from ultrafast.agents.hosting.walking import WALKERS, WALKERS_MOST, rest_of
from ultrafast.agents.registry import AgentType
from ultrafast.bus import tracing
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import Kind, Reason, is_overdue, origin_of, ttl_ms_of
from ultrafast.core import Message, now_ns
from ultrafast.core._walkers import Walker, Walkers
from ultrafast.errors import DecodeError, TaskCalledOff, UltrafastError
from ultrafast.executor.profiles import Profile
from ultrafast.executor.tasks import Result, Task
from ultrafast.metric_names import Counter, Histogram

__all__ = ["AgentHost", "TaskRunner"]

log = logging.getLogger(__name__)

_CALLED_OFF = "whoever asked for it waits no more"
_THREADS = 8  # of a process, for handlers that are declared `in_thread`


class TaskRunner(Protocol):
    """What executes tasks on the model; `OptimizedExecutor` is one."""

    async def execute(
        self, task: Task, profile: Profile | None = None, *, agent: str | None = None
    ) -> Result: ...


class AgentHost(Moving):
    """Hosts agents in this process.

    Parameters
    ----------
    system : SystemContext
        What their contexts stand on.
    endpoint : Endpoint
    executor : callable
        Gives the runner of this process's tasks; called at the first task.
    max_redeliveries : int
        How often a message may come again after a death, unless its agent's type says otherwise.
    """

    def __init__(
        self,
        system: SystemContext,
        endpoint: Endpoint,
        executor: Callable[[], TaskRunner],
        max_redeliveries: int = 3,
    ) -> None:
        super().__init__(system, endpoint)
        self.sender = endpoint.sender
        self.ask = endpoint.asker.request
        self._make_executor = executor
        self._executor: TaskRunner | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._errands = Errands()
        self._me = endpoint.region.slot
        self._held: list[Message] = []
        self._walked: dict[Walker, tuple[Hosted, Message]] = {}
        self._waiting: dict[int, set[asyncio.Task[Any]]] = {}  # for handlers, by their agents' ids
        self._repeats = Repeats(endpoint.table, max_redeliveries)
        self._walkers = Walkers(self._loop, self._more_walkers)
        self._setting_out: Hosted | None = None  # a task of it is being begun, up the stack
        self._coming = 0  # walkers that are not parked for the first time yet
        endpoint.walk_by(self._walkers, self._rest)
        self._more_walkers()
        for kind in (Kind.DATA, Kind.TASK, Kind.PING):
            endpoint.on(kind, self._arrived)
        self._incoming = endpoint.seat(
            self._hosted, IncomingMessage, self._ended, self._raised_anything
        )

    # --- types

    def register(self, kind: AgentType) -> None:
        """Learn an agent type; `WorkerFailed` when its class can't be loaded here."""
        self._nursery.learn(kind)
        self._repeats.set_limit(kind.name, kind.max_redeliveries)

    async def execute(self, task: Task, profile: Profile | None, agent_id: int) -> Result:
        """Do a task on this process's executor."""
        if self._executor is None:
            self._executor = self._make_executor()
        return await self._executor.execute(within_time(task), profile, agent=f"{agent_id:#x}")

    def keep(self, agent_id: int, subscription: Any) -> None:
        """Close a subscription with its agent."""
        hosted = self._hosted.get(agent_id)
        if hosted is not None:
            if hosted.subscriptions is None:
                hosted.subscriptions = []
            hosted.subscriptions.append(subscription)

    @property
    def count(self) -> int:
        """Agents here, warm ones not counted."""
        return len(self._hosted)

    def _context(self, agent_id: int) -> Context:
        return Context(self.sender, agent_id, ttl_ms_of, self._system, self)

    # --- a message arrives

    def _arrived(self, message: Message) -> None:
        hosted = self._seated(message.receiver)
        if hosted is None:
            if not self._keep(message):
                self._system.bus.dead_letter(message, Reason.AGENT_GONE)
            return
        if hosted.busy:
            self._enqueue(hosted, message)
        elif not self._endpoint.handle(hosted, message):
            self._work(hosted, message)

    def _enqueue(self, hosted: Hosted, message: Message | Due) -> None:
        if hosted.mailbox is None:
            hosted.mailbox = deque()
        hosted.mailbox.append(message)
        self._agents.set_depth(hosted.slot, len(hosted.mailbox))

    def _work(self, hosted: Hosted, message: Message | Due | None) -> None:
        """Handle messages one after the other, until none is left or a handler suspends."""
        while message is not None:
            if isinstance(message, Due):
                self._call(hosted, message)
            else:
                awaiting = self._begin(hosted, message)
                if awaiting is not None:
                    self._await(hosted, message, awaiting)
            if hosted.busy:
                return
            message = self._next(hosted)

    def _next(self, hosted: Hosted) -> Message | Due | None:
        if hosted.fallen is not None:
            self._rest(hosted)
            return None
        if hosted.mailbox:
            message = hosted.mailbox.popleft()
            self._agents.set_depth(hosted.slot, len(hosted.mailbox))
            return message
        if hosted.stopping:
            self._rest(hosted)
        return None

    def _begin(self, hosted: Hosted, message: Message) -> Awaitable[Any] | None:
        """Call the handler. None: it is done, and answered."""
        kind = message.kind
        if message.extra and is_overdue(message):
            self._system.bus.dead_letter(message, Reason.EXPIRED)
            return None
        if message.redelivered and (why := self._repeats.begin(message, hosted.agent.type)):
            self._system.bus.dead_letter(message, why)
            return None
        if kind == Kind.PING:
            self._done(hosted, message, None)
            return None
        try:
            if kind == Kind.DATA:
                self._timed(message)
                outcome = tracing.call(
                    message.trace, hosted.agent.on_message, self._incoming(message)
                )
            else:
                task = msgspec.msgpack.decode(message.payload, type=Task)
                execute = hosted.agent.execute
                run = self._errands.run
                doing: Awaitable[Any] = tracing.call(
                    message.trace, run, hosted.id, message, task, execute
                )
                return doing
        except msgspec.MsgspecError as error:
            self._raised(hosted, message, DecodeError(str(error)))
            return None
        except BaseException as error:  # noqa: BLE001 - the agent's own code may raise anything
            self._raised_anything(hosted, message, error)
            return None
        if outcome is not None and inspect.isawaitable(outcome):
            return outcome
        self._done(hosted, message, outcome)
        return None

    def _ended(self, hosted: Hosted, message: Message, outcome: Any) -> None:
        """A handler that the door called returned what somebody waits for, or what must be."""
        if type(outcome) is Walker:
            self._walked[outcome] = hosted, message
            self._tasks.add(outcome.task)
            hosted.running += 1
            hosted.busy = hosted.running >= hosted.limit
            return
        if inspect.isawaitable(outcome):
            self._await(hosted, message, outcome)
            if not hosted.busy:
                self._work(hosted, self._next(hosted))
        else:
            self._done(hosted, message, outcome)

    # --- handlers that wait

    def _more_walkers(self) -> None:
        """Have tasks ready, from the loop's next turn on, for handlers that wait."""
        if self._stopping or self._coming:
            return
        self._coming = WALKERS
        for _ in range(WALKERS):
            walker = Walker()
            walker.set_task(self._loop.create_task(self._walk(walker)))

    async def _walk(self, walker: Walker) -> None:
        """The life of a task: it waits for a handler that waits, and goes on with that."""
        task = walker.task
        self._coming -= 1
        while self._walkers.park(walker, WALKERS_MOST):
            cancelled = None
            try:
                await walker.parked
            except asyncio.CancelledError as error:
                if walker.coroutine is None:
                    raise
                cancelled = error
            hosted, message = self._walked.pop(walker)
            try:
                await self._complete(hosted, message, rest_of(walker, cancelled))
            finally:
                self._tasks.discard(task)
            if task.cancelling():
                return

    def _await(self, hosted: Hosted, message: Message, awaiting: Awaitable[Any]) -> None:
        self._set_out(hosted, self._complete(hosted, message, awaiting))

    def _set_out(self, hosted: Hosted, doing: Coroutine[Any, Any, None]) -> None:
        """Begin a task that waits for a handler. Where tasks begin at once it may be over when this
        returns: then whoever called goes on with the agent's next message, and not the task, or as
        many would stand in one another as there are messages."""
        hosted.running += 1
        hosted.busy = hosted.running >= hosted.limit
        before, self._setting_out = self._setting_out, hosted
        try:
            self._run(doing)
        finally:
            self._setting_out = before

    async def _complete(self, hosted: Hosted, message: Message, awaiting: Awaitable[Any]) -> None:
        """Wait for a handler that suspended, then go on with the agent's next message."""
        own = self._wait(hosted)
        try:
            outcome = await awaiting
        except asyncio.CancelledError:
            if self._stopping:
                raise  # the message is not given back, so a successor would get it again
            if hosted.is_cut_short and message.kind == Kind.DATA:
                self._bury(message)
            else:
                self._raised(hosted, message, RuntimeError("the handler was cancelled"))
        except Exception as error:  # noqa: BLE001 - the agent's own code may raise anything
            self._raised(hosted, message, error)
        else:
            self._done(hosted, message, outcome)
        self._waited(hosted, own)
        if hosted.running == 1 and hosted.fallen is None and self._setting_out is not hosted:
            # As `_freed`, in line.
            hosted.running = 0
            hosted.busy = False
            if hosted.mailbox or hosted.stopping:
                self._work(hosted, self._next(hosted))
        else:
            self._freed(hosted)

    def _freed(self, hosted: Hosted) -> None:
        hosted.running -= 1
        if self._setting_out is hosted:
            hosted.busy = hosted.fallen is not None and hosted.running > 0
            return
        if hosted.fallen is not None:
            hosted.busy = hosted.running > 0
            self._rest(hosted)
            return
        hosted.busy = False
        if hosted.mailbox or hosted.stopping:
            self._work(hosted, self._next(hosted))

    def _wait(self, hosted: Hosted) -> asyncio.Task[Any]:
        """From now on this task waits for a handler of an agent."""
        own = asyncio.current_task()
        assert own is not None
        self._waiting.setdefault(hosted.id, set()).add(own)
        if hosted.is_cut_short and not self._errands.has(own):
            own.cancel()  # it was to begin when the agent was told to stop
        return own

    def _waited(self, hosted: Hosted, own: asyncio.Task[Any]) -> None:
        tasks = self._waiting[hosted.id]
        tasks.discard(own)
        if not tasks:
            del self._waiting[hosted.id]

    def _cut_short(self, hosted: Hosted) -> None:
        self._errands.call_off_all(hosted.id, "its agent was terminated without draining")
        for task in self._waiting.get(hosted.id, ()):
            if hosted.is_cut_short and not self._errands.has(task):
                task.cancel()

    def _bury(self, message: Message) -> None:
        """Its agent was terminated while it handled this."""
        if message.redelivered:
            self._repeats.end(message)
        self._system.bus.dead_letter(message, Reason.AGENT_STOPPED)

    # --- timers

    def _due(self, hosted: Hosted, due: Due) -> None:
        if hosted.busy:
            self._enqueue(hosted, due)
        else:
            self._work(hosted, due)

    def _call(self, hosted: Hosted, due: Due) -> None:
        try:
            outcome = due.call()
        except Exception as error:  # noqa: BLE001 - the agent's own code may raise anything
            self._timer_raised(hosted, error)
            return
        if inspect.isawaitable(outcome):
            self._set_out(hosted, self._complete_call(hosted, outcome))

    async def _complete_call(self, hosted: Hosted, awaiting: Awaitable[Any]) -> None:
        own = self._wait(hosted)
        try:
            await awaiting
        except asyncio.CancelledError:
            if self._stopping:
                raise
            if not hosted.is_cut_short:
                self._timer_raised(hosted, RuntimeError("it was cancelled"))
        except Exception as error:  # noqa: BLE001 - the agent's own code may raise anything
            self._timer_raised(hosted, error)
        self._waited(hosted, own)
        self._freed(hosted)

    def _timer_raised(self, hosted: Hosted, error: BaseException) -> None:
        log.error("a timer of agent %#x (%s)", hosted.id, hosted.agent.type, exc_info=error)
        self._judge(hosted, error)

    def _judge(self, hosted: Hosted, error: BaseException) -> None:
        """Whether an agent failed whose code raised is for its type to say."""
        number = self._number(hosted.id)
        if number is not None and self._nursery.policy(number).on_error == "fail":
            self.fail(hosted.id, f"{type(error).__name__}: {error}")

    def _timed(self, message: Message) -> None:
        """Record how long the message was under way, from its intended send time."""
        taken = now_ns() - message.sent_ns
        local = origin_of(message.correlation) == self._me
        self._metrics.record(
            Histogram.LOCAL_COMMUNICATION if local else Histogram.COMMUNICATION, max(taken, 0)
        )

    def _done(self, hosted: Hosted, message: Message, outcome: Any) -> None:
        try:
            self._system.bus.reply(message, outcome)
        except Exception as error:  # noqa: BLE001 - the agent's own code may raise anything
            self._raised(hosted, message, error)
            return
        self._finished(hosted, message, failed=False)

    def _raised_anything(self, hosted: Hosted, message: Message, error: BaseException) -> None:
        """A handler raised; what is meant to end the process goes on once it is accounted for."""
        if isinstance(error, asyncio.CancelledError):
            error = RuntimeError("the handler was cancelled")
        self._raised(hosted, message, error)
        if isinstance(error, SystemExit | KeyboardInterrupt):
            raise error

    def _raised(self, hosted: Hosted, message: Message, error: BaseException) -> None:
        if not message.reply_queue:
            log.error(
                "agent %#x (%s) failed on a message", hosted.id, hosted.agent.type, exc_info=error
            )
        self._system.bus.reply_error(message, error)
        self._finished(hosted, message, failed=True)
        if not isinstance(error, TaskCalledOff):
            self._judge(hosted, error)

    def _cancel(self, agent_id: int, number: int) -> None:
        hosted = self._hosted.get(agent_id)
        if hosted is None or self._errands.call_off(number, _CALLED_OFF):
            return
        for message in hosted.mailbox or ():
            if not isinstance(message, Due) and message.correlation == number:
                hosted.mailbox.remove(message)  # type: ignore[union-attr]  # it was in there
                self._agents.set_depth(hosted.slot, len(hosted.mailbox or ()))
                self._raised(hosted, message, TaskCalledOff(_CALLED_OFF))
                return

    def _finished(self, hosted: Hosted, message: Message, *, failed: bool) -> None:
        metrics = self._metrics
        if message.kind == Kind.DATA or message.kind == Kind.TASK or message.kind == Kind.PING:
            metrics.add(Counter.DELIVERED)
        metrics.add(Counter.FAILED if failed else Counter.HANDLED)
        if message.redelivered:
            metrics.add(Counter.REDELIVERED)
            self._repeats.end(message)
        self._agents.handled(hosted.slot, failed, now_ns())
        message.release()

    async def run_in_thread(self, handler: Callable[..., Any], *given: Any) -> Any:
        """Run a plain handler in this process's pool of threads, in the trace it was called in."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="ultrafast-handler")
        call = functools.partial(contextvars.copy_context().run, handler, *given)
        return await self._loop.run_in_executor(self._threads, call)

    # --- handing over to a successor

    @property
    def is_quiet(self) -> bool:
        """Whether no handler of an agent waits for anything."""
        return self._tasks <= self._warming

    def hold(self) -> None:
        """From now on keep what comes for agents, as if it were handled, but what may not come
        twice: a successor gets what this process had when it ended."""
        self.stay()
        self._endpoint.seat({}, IncomingMessage, self._ended, self._raised_anything)
        for kind in (Kind.DATA, Kind.TASK):
            self._endpoint.on(kind, self._hold)

    def _hold(self, message: Message) -> None:
        info = self._agents.look(message.receiver)
        name = None if info is None else self._agents.type_name(info.type)
        if name is None or self._repeats.is_never(name):
            self._arrived(message)
        else:
            self._held.append(message)

    async def leave(self) -> None:
        """Save what agents keep; their records stay as they are."""
        self.stay()
        self._stopping = True
        for hosted in list(self._hosted.values()):
            if hosted.agent.state_saved not in (None, "by-hand"):
                try:
                    hosted.agent.state.save()
                except UltrafastError as error:
                    log.error("the state of agent %#x is not saved: %s", hosted.id, error)
        await self._close()

    async def stop_all(self, timeout_s: float) -> None:
        """Run every agent's on_stop and free its record; handlers get `timeout_s` to finish."""
        await super().stop_all(timeout_s)
        await self._close()

    async def _close(self) -> None:
        self._walkers.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        close = getattr(self._executor, "aclose", None)
        if close is not None:
            await close()
