"""`Errands`: the tasks under way in a process, each within what is left of its time.

Stands on the event loop. A task's time runs from the moment it was asked for, over the wait for its
agent, everything that the agent asks of others for it, and the model; who stops waiting for a task
has all of that stopped.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Final

import msgspec

from ultrafast.core import Message, now_ns
from ultrafast.errors import TaskCalledOff, TaskTimeout
from ultrafast.executor.tasks import Task

__all__ = ["Errands", "TaskCalledOff", "within_time"]

# The executor says best what took so long: it is given this much before the agent is stopped.
_AFTERWARDS_S: Final = 0.25

# CLOCK_MONOTONIC at which the task's time is over that is being done here; None outside of tasks.
_until_ns: ContextVar[int | None] = ContextVar("ultrafast_task_until_ns", default=None)


def within_time(task: Task) -> Task:
    """The task, with no more time than is left of the task that it is done for.

    Raises
    ------
    TaskTimeout
        None is left.
    """
    until_ns = _until_ns.get()
    if until_ns is None:
        return task
    left_s = (until_ns - now_ns()) / 1e9
    if left_s <= 0.0:
        raise TaskTimeout(f"task {task.id!r}: no time is left of the task that it is done for")
    if left_s >= task.constraints.timeout_s:
        return task
    constraints = msgspec.structs.replace(task.constraints, timeout_s=left_s)
    return msgspec.structs.replace(task, constraints=constraints)


class Errands:
    """Tasks under way."""

    def __init__(self) -> None:
        # By the number of the message that asked for it: whose it is, and what does it, which is
        # None until the loop has begun it.
        self._under_way: dict[int, tuple[int, asyncio.Task[Any] | None]] = {}
        self._called_off: dict[int, str] = {}

    def run(
        self, agent_id: int, message: Message, task: Task, execute: Callable[[Task], Any]
    ) -> Coroutine[Any, Any, Any]:
        """Do a task: what `execute` gives. From this call on it can be stopped.

        Raises
        ------
        TaskTimeout, TaskCalledOff
            Its time was over, or it was stopped; and whatever `execute` raises.
        """
        self._under_way[message.correlation] = (agent_id, None)
        return self._run(agent_id, message, task, execute)

    async def _run(
        self, agent_id: int, message: Message, task: Task, execute: Callable[[Task], Any]
    ) -> Any:
        number, timeout_s = message.correlation, task.constraints.timeout_s
        until_ns = message.sent_ns + int(min(timeout_s, 1e9) * 1e9)
        own = asyncio.current_task()
        assert own is not None
        before = _until_ns.set(until_ns)
        self._under_way[number] = (agent_id, own)
        left_s = (until_ns - now_ns()) / 1e9
        try:
            if (why := self._called_off.get(number)) is not None:
                raise TaskCalledOff(f"task {task.id!r}: {why}")
            async with asyncio.timeout(left_s + _AFTERWARDS_S) as limit:
                outcome = execute(within_time(task))
                return await outcome if inspect.isawaitable(outcome) else outcome
        except TimeoutError:
            if not limit.expired():
                raise
            raise TaskTimeout(
                f"task {task.id!r}: agent {agent_id:#x} had not done it within {timeout_s:g} s"
            ) from None
        except asyncio.CancelledError:
            why = self._called_off.pop(number, None)
            if why is None:
                raise
            own.uncancel()
            raise TaskCalledOff(f"task {task.id!r}: {why}") from None
        finally:
            _until_ns.reset(before)
            self._under_way.pop(number, None)
            self._called_off.pop(number, None)

    def call_off(self, number: int, why: str) -> bool:
        """Stop the task that a message asked for: whether it was under way."""
        found = self._under_way.get(number)
        if found is None:
            return False
        if number not in self._called_off:
            self._called_off[number] = why
            if found[1] is not None:
                found[1].cancel()
        return True

    def has(self, doer: asyncio.Task[Any]) -> bool:
        """Whether it does a task."""
        return any(own is doer for _, own in self._under_way.values())

    def call_off_all(self, agent_id: int, why: str) -> None:
        """Stop whatever an agent does for tasks."""
        for number, (agent, _) in list(self._under_way.items()):
            if agent == agent_id:
                self.call_off(number, why)
