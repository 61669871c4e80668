"""`Agent`, which users subclass, and `IncomingMessage`, which its handler gets.

Stands on the door that makes messages of what arrives. An agent knows its context (see `context`)
and nothing of processes or rings.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ultrafast.agents.hosting.timers import Timer
from ultrafast.agents.state import State
from ultrafast.bus import tracing
from ultrafast.core import Incoming
from ultrafast.errors import InvalidArgument
from ultrafast.executor.profiles import Profile
from ultrafast.executor.tasks import Task

if TYPE_CHECKING:
    from ultrafast.agents.context import Context

__all__ = ["Agent", "IncomingMessage", "in_thread"]


class IncomingMessage(Incoming):
    """A message as its receiver sees it.

    The body is read while the handler runs; afterwards only if it was read before.

    Attributes
    ----------
    body : object
        Decoded on first use. A NumPy array's bytes are copied out of shared memory.
    sender, receiver : int
        Agent ids; sender 0 is a process that is no agent.
    id : int
        Unique over the system; a request and its answer share it.
    priority : int
        The lane, 0 first.
    redelivered : bool
        A worker died while it had this message: the handler may have run before.
    sent_ns : int
        Intended send time, CLOCK_MONOTONIC.
    wants_answer : bool
        Somebody waits for what the handler returns.
    trace : bytes, optional
        The trace that it was sent in, as it travels. It is current while the handler runs.
    """

    __slots__ = ()

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context that it was sent in; None outside any."""
        return tracing.text_of(self.trace)


class Agent:
    """Something that lives in a worker, gets one message at a time, and executes tasks.

    Subclass it and register the class. Every hook may be `async def` or plain `def`; where it does
    not wait, the first costs little more. An instance is made without arguments, in a worker
    process; what it needs it takes from `self.context`.

    Attributes
    ----------
    id : int
        Valid from `on_start` on.
    type : str
        The name it was registered under.
    context : Context
        Sending, requests, publications, the store, spawning and the model.
    profile : Profile, optional
        How the model is told who this agent is, for `execute`.
    state_saved : {"message", "by-hand"} or float, optional
        When `state` is written to the store: after each message that was handled, before it is
        given back; only by `state.save()`; or each so many seconds and at the end. None: the type
        has no state.
    """

    profile: ClassVar[Profile | None] = None
    state_saved: ClassVar[Literal["message", "by-hand"] | float | None] = None

    id: int = 0
    type: str = ""
    context: Context

    @property
    def state(self) -> State:
        """A dict that the agent gets back after a restart or the death of its worker.

        An agent with a name has it back, too, when an agent of this name is spawned again, unless
        it was terminated with `forget_state=True`. Without a name it ends with the agent.
        """
        state = self.__dict__.get("_state")
        if state is None:
            if self.state_saved is None:
                raise InvalidArgument(
                    f"{type(self).__name__} keeps no state: say when it is to be saved, for "
                    'example state_saved = "message" in the class'
                )
            state = self.__dict__["_state"] = self.context.open_state()
        return state

    def every(self, seconds: float, call: Callable[[], Any]) -> Timer:
        """Call something again and again, between messages, until the agent ends.

        A call that comes while the agent is busy waits for its turn, and the next one does not pile
        up behind it. Made in `on_start`, it is there again after a restart.

        Parameters
        ----------
        seconds : float
            From one call to the next.
        call : callable
            Without arguments; plain or async. What it raises is logged, or fails the agent if its
            type says `on_error="fail"`.

        Returns
        -------
        Timer
            To `cancel`.
        """
        return self.context.timer(seconds, call, again=True)

    def after(self, seconds: float, call: Callable[[], Any]) -> Timer:
        """Call something once, as `every` does, unless the agent ends before."""
        return self.context.timer(seconds, call, again=False)

    def on_warm(self) -> Any:
        """Prepare what every agent of the type needs; runs before the agent is spawned."""

    def on_start(self) -> Any:
        """Runs before the first message, and again after the worker was replaced."""

    def on_message(self, message: IncomingMessage) -> Any:
        """Handle one message; what it returns, or a coroutine of it, answers a request."""
        raise NotImplementedError(
            f"{type(self).__name__} has no on_message: define one to get messages"
        )

    def execute(self, task: Task) -> Any:
        """Do a task, giving a `Result`: by default, ask the model with this agent's profile."""
        return self.context.execute(task, self.profile)

    def on_stop(self) -> Any:
        """Runs after the last message, when the agent is terminated or the system shuts down."""


def in_thread(handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Have a plain handler run in a thread of the worker's pool, so that it may block.

    For `on_message` or `execute`. The agent's next message waits for it as for any handler, and
    other agents of the worker go on. In it, `context.send_nowait` and the store can be used; what
    is to be awaited can't.

    Parameters
    ----------
    handler : callable
        A plain method that takes what it handles.

    Returns
    -------
    callable
        The method to put into the class.

    Examples
    --------
    >>> class Reader(Agent):
    ...     @in_thread
    ...     def on_message(self, message):
    ...         return open(message.body).read()
    """

    @wraps(handler)
    async def handle(self: Agent, given: Any) -> Any:
        return await self.context.run_in_thread(handler, self, given)

    handle.in_thread = True  # type: ignore[attr-defined]  # for `runs_in_thread`
    return handle


def runs_in_thread(agent: Agent) -> bool:
    """Whether an agent's messages are handled in a thread."""
    return hasattr(agent.on_message, "in_thread")
