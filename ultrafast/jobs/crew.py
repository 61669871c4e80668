"""The agents that do a job's tasks: `TaskAgent`, and one type of it for each built-in profile.

An agent collects the results that come to it as messages, and does a task with those of the tasks
before it. Stands on the public `Agent`, the executor's values and the shared store.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ultrafast import Agent, IncomingMessage
from ultrafast.errors import TaskFailed
from ultrafast.executor.profiles import BUILTIN_PROFILES
from ultrafast.executor.tasks import Result, Task
from ultrafast.jobs.given import RESULTS_NAMESPACE, Given, ResultMessage

__all__ = ["AGENT_TYPES", "CREW_CLASSES", "TaskAgent", "crew_sizes"]

# Without a number asked for: more agents of a type than requests under way would only wait.
_DEFAULT_OF_A_TYPE = 20


class TaskAgent(Agent):
    """Does tasks with the results of earlier ones, which arrive as messages, as their context."""

    def on_start(self) -> None:
        """Begin with nothing given."""
        self._given = Given()

    def on_message(self, message: IncomingMessage) -> None:
        """Keep a result for the task that wants it."""
        self._given.put(msgspec.convert(message.body, ResultMessage))

    async def execute(self, task: Task) -> Result:
        """Do a task with the results it comes after.

        Raises
        ------
        TaskFailed
            If one of them is neither given nor in the shared store; and as the executor raises.
        """
        wanted = tuple(dict.fromkeys(task.after))
        given = self._given.take(task.id, wanted)
        # Results are accepted before their reader is asked to begin, so one is missing only where
        # an agent lost its memory with its worker.
        context = {
            each: given[each] if each in given else self._stored(task.id, each) for each in wanted
        }
        task = msgspec.structs.replace(task, context={**task.context, **context})
        return await self.context.execute(task, self.profile)

    def _stored(self, task_id: str, wanted: str) -> str:
        stored = self.context.memory_store.get(RESULTS_NAMESPACE, wanted)
        if stored is None:
            raise TaskFailed(
                f"task {task_id!r}: the result of {wanted!r} was not sent to this agent, and is "
                f"not in the store's namespace {RESULTS_NAMESPACE!r}"
            )
        return str(stored["text"])


class TaskCoder(TaskAgent):
    """Does a coder's tasks."""

    profile = BUILTIN_PROFILES["coder"]


class TaskResearcher(TaskAgent):
    """Does a researcher's tasks."""

    profile = BUILTIN_PROFILES["researcher"]


class TaskAnalyst(TaskAgent):
    """Does an analyst's tasks."""

    profile = BUILTIN_PROFILES["analyst"]


class TaskTester(TaskAgent):
    """Does a tester's tasks."""

    profile = BUILTIN_PROFILES["tester"]


class TaskReviewer(TaskAgent):
    """Does a reviewer's tasks."""

    profile = BUILTIN_PROFILES["reviewer"]


CREW_CLASSES: dict[str, type[TaskAgent]] = {
    "coder": TaskCoder,
    "researcher": TaskResearcher,
    "analyst": TaskAnalyst,
    "tester": TaskTester,
    "reviewer": TaskReviewer,
}
"""Who does the tasks of a type."""

AGENT_TYPES: dict[str, str] = {task_type: f"task-{task_type}" for task_type in CREW_CLASSES}
"""The names their agents are registered and counted under."""


def crew_sizes(tasks: Mapping[str, int], agents: int | None) -> dict[str, int]:
    """How many agents do the tasks of each type.

    Parameters
    ----------
    tasks : mapping of str to int
        Tasks to do, by type; types without any are left out.
    agents : int, optional
        Agents at most, in total.

    Returns
    -------
    dict of str to int
        At least one for each type, and no more than it has tasks.

    Raises
    ------
    ValueError
        If there are fewer agents than types.

    Examples
    --------
    >>> crew_sizes({"coder": 8, "tester": 1}, 4)
    {'coder': 3, 'tester': 1}
    """
    wanted = {task_type: count for task_type, count in tasks.items() if count}
    if agents is None:
        return {task_type: min(n, _DEFAULT_OF_A_TYPE) for task_type, n in wanted.items()}
    if agents < len(wanted):
        raise ValueError(
            f"{agents} agents can't do tasks of {len(wanted)} types "
            f"({', '.join(sorted(wanted))}); each needs at least one"
        )
    sizes = dict.fromkeys(wanted, 1)
    for _ in range(min(agents, sum(wanted.values())) - len(sizes)):
        neediest = max(wanted, key=lambda task_type: wanted[task_type] / sizes[task_type])
        sizes[neediest] += 1
    return sizes
