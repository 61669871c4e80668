"""What a job came to, in one file, `summary.json`. Stands on msgspec; written whole or not."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from ultrafast import __version__
from ultrafast.executor.tasks import Usage
from ultrafast.jobs.journal import DamagedLine, Record
from ultrafast.jobs.plan import FaultyLine, Plan
from ultrafast.jobs.runner import Outcome

__all__ = ["SUMMARY", "FailedTask", "JobSummary", "SkippedTask", "summarise", "write_whole"]

SUMMARY = "summary.json"


class FailedTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task without an answer: which, what kind of error, and its sentence."""

    id: str
    line: int
    error_type: str | None
    error: str | None


class SkippedTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task that was not tried, because of another: which, and the reason."""

    id: str
    line: int
    reason: str


class JobSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of a job came to.

    Parameters
    ----------
    ultrafast : str
        The version.
    tasks_file, source, endpoint : str
        What was done, and who answered: `api` or `loopback`, and where.
    lines : int
        Lines of the tasks file that say something. They are `malformed`, or tasks: `ok` (of which
        `resumed` by an earlier run), `failed`, `skipped` or `not_done`.
    ok, resumed, failed, skipped, malformed, not_done : int
        Counts.
    malformed_lines, failed_tasks, skipped_tasks, not_done_tasks : list
        Which, and why.
    damaged_results : list of DamagedLine
        Unreadable lines found in the results file; their tasks were done again.
    interrupted, failed_fast : bool
        Whether the run was told to stop; and whether it stopped at the first failure.
    agents_asked, agents_alive : int
        Agents that were to be alive, and how many answered when each was asked.
    workers : int
        Worker processes.
    result_messages : int
        Results passed from agent to agent.
    store_faults : list of str
        Results that the shared store did not take, and why.
    usage, cost_usd : Usage, float
        Spent in this run; the cost of answers that have a price.
    duration_s : float
        From the first task's start to the last one's end.
    tasks_per_s : float, optional
        Tasks done in this run in that time; None when there were none.
    """

    ultrafast: str
    tasks_file: str
    source: str
    endpoint: str
    lines: int
    ok: int
    resumed: int
    failed: int
    skipped: int
    malformed: int
    not_done: int
    malformed_lines: list[FaultyLine]
    failed_tasks: list[FailedTask]
    skipped_tasks: list[SkippedTask]
    not_done_tasks: list[str]
    damaged_results: list[DamagedLine]
    interrupted: bool
    failed_fast: bool
    agents_asked: int
    agents_alive: int
    workers: int
    result_messages: int
    store_faults: list[str]
    usage: Usage
    cost_usd: float
    duration_s: float
    tasks_per_s: float | None

    @property
    def complete(self) -> bool:
        """Whether every line of the file was a task and has an answer."""
        return self.ok == self.lines


def summarise(
    plan: Plan,
    outcome: Outcome,
    *,
    tasks_file: Path,
    source: str,
    endpoint: str,
    damaged: tuple[DamagedLine, ...],
    agents_asked: int,
    agents_alive: int,
    workers: int,
) -> JobSummary:
    """Put a run's outcome into the form it is kept in; the parameters are the fields."""
    now: list[Record] = [*outcome.ok.values(), *outcome.failed.values()]
    usage = sum((record.usage for record in now), start=Usage())
    tried = len(now)
    return JobSummary(
        ultrafast=__version__,
        tasks_file=str(tasks_file),
        source=source,
        endpoint=endpoint,
        lines=plan.lines,
        ok=len(outcome.ok) + len(outcome.resumed),
        resumed=len(outcome.resumed),
        failed=len(outcome.failed),
        skipped=len(outcome.skipped),
        malformed=len(plan.faults),
        not_done=len(outcome.not_done),
        malformed_lines=list(plan.faults),
        failed_tasks=[
            FailedTask(
                id=each, line=plan.tasks[each].line, error_type=one.error_type, error=one.error
            )
            for each, one in outcome.failed.items()
        ],
        skipped_tasks=[
            SkippedTask(id=each, line=plan.tasks[each].line, reason=reason)
            for each, reason in outcome.skipped.items()
        ],
        not_done_tasks=list(outcome.not_done),
        damaged_results=list(damaged),
        interrupted=outcome.interrupted,
        failed_fast=outcome.failed_fast,
        agents_asked=agents_asked,
        agents_alive=agents_alive,
        workers=workers,
        result_messages=outcome.messages_sent,
        store_faults=outcome.store_faults,
        usage=usage,
        cost_usd=sum(record.cost_usd or 0.0 for record in now),
        duration_s=outcome.duration_s,
        tasks_per_s=tried / outcome.duration_s if tried and outcome.duration_s > 0 else None,
    )


def write_whole(path: Path, value: Any) -> None:
    """Write a value as JSON; a reader finds the old file or the new one, never a part.

    Parameters
    ----------
    path : Path
        Replaced when it exists.
    value : object
        Anything msgspec encodes.
    """
    data = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, 0o644)
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
