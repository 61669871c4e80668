"""`Agent`, which users subclass, and `IncomingMessage`, which its handler gets.

Stands on the door that makes messages of what arrives. An agent knows its context (see `context`)
and nothing of processes or rings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ultrafast.bus import tracing
from ultrafast.core import Incoming
from ultrafast.executor.profiles import Profile
from ultrafast.executor.tasks import Task

if TYPE_CHECKING:
    from ultrafast.agents.context import Context

__all__ = ["Agent", "IncomingMessage"]


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

    Subclass it and register the class. Every hook may be `async def` or plain `def`; one that need
    not wait costs less as a plain one. An instance is made without arguments, in a worker process;
    what it needs it takes from `self.context`.

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
    """

    profile: ClassVar[Profile | None] = None

    id: int = 0
    type: str = ""
    context: Context

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
