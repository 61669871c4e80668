"""What an agent has been given for its tasks: results of earlier tasks, as they arrive.

Stands on msgspec. Holds no agent and sends nothing, so it can be tried on its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

__all__ = ["RESULTS_NAMESPACE", "Given", "ResultMessage"]

RESULTS_NAMESPACE = "results"
"""Namespace of the shared store that keeps a job's results, by task id."""


class ResultMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of the message that carries a task's result to the agent of a later task.

    Parameters
    ----------
    task_id : str
        Whose result it is.
    wanted_by : str
        The later task.
    text : str
        The result.
    """

    task_id: str
    wanted_by: str
    text: str


class Given:
    """Results that came for tasks not yet done.

    Notes
    -----
    Threads: one. Waits: never.
    """

    def __init__(self) -> None:
        self._texts: dict[str, dict[str, str]] = {}

    def put(self, message: ResultMessage) -> None:
        """Keep a result for the task that wants it; one that came before is replaced."""
        self._texts.setdefault(message.wanted_by, {})[message.task_id] = message.text

    def take(self, task_id: str, wanted: Sequence[str]) -> dict[str, str]:
        """The results a task wants, in the order wanted, without those that did not come.

        What came for the task is kept no longer.
        """
        texts = self._texts.pop(task_id, {})
        return {each: texts[each] for each in wanted if each in texts}

    def __len__(self) -> int:
        """How many results are kept."""
        return sum(map(len, self._texts.values()))
