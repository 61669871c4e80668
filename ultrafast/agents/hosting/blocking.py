"""`LoopWatch`: says which agent keeps its loop from turning, for how long, and where it is.

Stands on a thread that asks the loop for a sign now and then, and on `sys._current_frames`.
Handlers pay nothing for it: an idle loop is seen to be idle by its stack, and asked nothing.
What holds the interpreter's lock for its whole time is seen when it lets go of it. It ends nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from time import monotonic
from types import CodeType, FrameType
from typing import Any, Final

import msgspec

from ultrafast.agents.agent import Agent
from ultrafast.bus.endpoint import Endpoint
from ultrafast.core import Metrics
from ultrafast.errors import RegionClosed
from ultrafast.metric_names import Counter

__all__ = ["Blockage", "LoopWatch", "watch_here"]

log = logging.getLogger(__name__)

_SHORTEST_PAUSE_S: Final = 0.002
_FRAMES: Final = 50


class Blockage(msgspec.Struct, frozen=True):
    """An agent that blocks its loop.

    Attributes
    ----------
    agent : int
    type : str
    blocked_ms : float
        Until it was seen.
    stack : str
        From the agent's outermost call to where it is, as tracebacks are written.
    """

    agent: int
    type: str
    blocked_ms: float
    stack: str


class LoopWatch:
    """Watches the loop that it is made on, from a thread of its own, until it is stopped.

    Parameters
    ----------
    warning_ms : float
        From when on a blocked loop is worth a warning; 0: it is not watched.
    metrics : Metrics
        Where blockages are counted.
    say : callable
        Called in the watch's thread with each `Blockage`.

    Notes
    -----
    A blockage is seen when it has lasted one to two times `warning_ms`, and said once. The watch
    counts time by its own sleep: where the whole process got no processor, no agent is blamed.
    """

    def __init__(
        self, warning_ms: float, metrics: Metrics, say: Callable[[Blockage], object]
    ) -> None:
        self._warning_s = warning_ms / 1000
        self._pause_s = max(_SHORTEST_PAUSE_S, self._warning_s / 2)
        self._metrics = metrics
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        # The watch's thread writes what it asked, the loop what it answered.
        self._asked = 0
        self._answered = 0
        self._home: CodeType | None = None
        self._stopped = threading.Event()
        if warning_ms > 0:
            self._ask()
            threading.Thread(target=self._watch, name="ultrafast-watch", daemon=True).start()

    def stop(self) -> None:
        """End the watch. May be called twice."""
        self._stopped.set()

    def _watch(self) -> None:
        asked_at = slept_at = monotonic()
        blocked_s = 0.0
        said = False
        while not self._stopped.wait(self._pause_s):
            now = monotonic()
            if self._answered == self._asked:
                if self._is_idle():
                    slept_at = now
                    continue
                asked_at, blocked_s, said = now, 0.0, False
                if not self._ask():
                    return
            else:
                # A thread that overslept was kept from running, as the loop perhaps was.
                blocked_s += min(now - slept_at, 1.5 * self._pause_s)
                if blocked_s >= self._warning_s and not said:
                    said = True
                    self._warn(now - asked_at)
            slept_at = now

    def _ask(self) -> bool:
        self._asked += 1
        try:
            self._loop.call_soon_threadsafe(self._answer, self._asked)
        except RuntimeError:
            return False  # it is closed
        return True

    def _answer(self, number: int) -> None:
        if self._home is None:
            caller = sys._getframe().f_back
            self._home = caller.f_code if caller is not None else None
        self._answered = number

    def _is_idle(self) -> bool:
        """Whether the loop waits for something to do: no callback of it is on its stack."""
        frame = sys._current_frames().get(self._thread_id)
        if frame is None or frame.f_code is self._home:
            return True
        return frame.f_code.co_name == "select" and frame.f_globals["__name__"] == "selectors"

    def _warn(self, blocked_s: float) -> None:
        found = _agent_on(sys._current_frames().get(self._thread_id))
        if found is None:
            return  # the runtime's own work, or it has just ended
        agent, frames = found
        stack = "".join(
            traceback.StackSummary.extract(
                (each, each.f_lineno or each.f_code.co_firstlineno) for each in frames
            ).format()
        )
        try:
            self._metrics.add(Counter.BLOCKED)
        except RegionClosed:
            return  # the process is about to end
        blockage = Blockage(agent.id, agent.type, blocked_s * 1000, stack)
        log.warning(
            "agent %#x (%s) has blocked the loop of its worker for %.0f ms; other agents wait. "
            "Have it await, or do this in a thread (asyncio.to_thread):\n%s",
            blockage.agent,
            blockage.type,
            blockage.blocked_ms,
            stack,
        )
        self._say(blockage)


def watch_here(
    warning_ms: float, endpoint: Endpoint, on_event: Callable[[str, Any], object]
) -> None:
    """Watch the running loop until the endpoint stops, where the manager itself hosts agents."""
    loop = asyncio.get_running_loop()

    def tell(blockage: Blockage) -> None:
        on_event("worker.blocked", {"worker": 0, **msgspec.structs.asdict(blockage)})

    def say(blockage: Blockage) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(tell, blockage)

    endpoint.at_stop(LoopWatch(warning_ms, endpoint.metrics, say).stop)


def _agent_on(frame: FrameType | None) -> tuple[Agent, list[FrameType]] | None:
    """The agent whose method is the innermost on a stack, and the frames from its first one on.

    Others further out wait for an answer: their turn hands out what comes.
    """
    frames: list[FrameType] = []
    found: tuple[Agent, int] | None = None
    while frame is not None:
        frames.append(frame)
        code = frame.f_code
        first: Any = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
        if isinstance(first, Agent):
            if found is not None and found[0] is not first:
                break
            found = first, len(frames)
        frame = frame.f_back
    if found is None:
        return None
    agent, depth = found
    return agent, frames[:depth][:_FRAMES][::-1]
