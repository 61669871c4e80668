"""What `ultrafast run` shows: who answers, the faulty lines, progress on a terminal, the end.

Stands on rich and on the job's values. On anything but a terminal it prints lines and no bars.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from ultrafast.executor.tasks import Task
from ultrafast.jobs.journal import RESULTS, Journal, Record
from ultrafast.jobs.plan import Plan
from ultrafast.jobs.source import ModelSource
from ultrafast.jobs.summary import SUMMARY, JobSummary

__all__ = ["JobView", "print_summary"]

_SHOWN = 20


class JobView:
    """Shows a job as it goes; a `JobObserver`, for as long as a block lasts."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", justify="right"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._bars: dict[str, TaskID] = {}
        self._under_way: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._began = time.monotonic()

    def __enter__(self) -> JobView:
        self._progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def planned(self, plan: Plan, journal: Journal, resumed: Mapping[str, Record]) -> None:
        """Say what the tasks file holds, each faulty line, and what is done already."""
        self._say(f"{plan.lines} lines: {len(plan.tasks)} tasks, {len(plan.faults)} malformed")
        for fault in plan.faults:
            name = f" ({fault.id})" if fault.id is not None else ""
            self._say(f"line {fault.line}{name}: {fault.reason}", style="red")
        if journal.cut_bytes:
            self._say(f"{journal.path}: cut off an unfinished last line", style="yellow")
        for line in journal.damaged:
            self._say(f"{journal.path} line {line.line} is unreadable: {line.reason}", style="red")
        if resumed:
            self._say(f"going on in {journal.path}: {len(resumed)} tasks are done already")
        todo = Counter(
            planned.task.type
            for each, planned in plan.tasks.items()
            if each not in resumed and each not in plan.unreachable
        )
        for task_type, count in todo.items():
            self._bars[task_type] = self._progress.add_task(task_type, total=count, note="")

    def asking(self, source: ModelSource) -> None:
        """Say who answers."""
        self._say(source.sentence)

    def alive(self, answered: int, asked: int, seconds: float) -> None:
        """Say how many agents there are."""
        style = "" if answered == asked else "red"
        self._say(f"{answered:,} of {asked:,} agents answered a ping within {seconds:.2f} s", style)

    def measuring(self) -> None:
        """Say that the tasks are done and the measuring begins."""
        self._say("measuring the system, about half a minute")

    def started(self, task: Task) -> None:
        """Show a task under way."""
        self._under_way[task.type] += 1
        self._note(task.type)

    def recorded(self, record: Record) -> None:
        """Move the bar, and say at once why a task failed."""
        self._under_way[record.type] -= 1
        if not record.ok:
            self._failed[record.type] += 1
            error = f"{record.error_type}: {record.error}"
            self._say(f"task {record.task_id} failed: {error}", style="red")
        self._progress.advance(self._bars[record.type])
        self._note(record.type)

    def _note(self, task_type: str) -> None:
        note = f"{self._under_way[task_type]} under way"
        if self._failed[task_type]:
            note += f", {self._failed[task_type]} failed"
        self._progress.update(self._bars[task_type], note=note)

    def _say(self, sentence: str, style: str = "") -> None:
        self._console.print(escape(sentence), style=style or None)


def print_summary(summary: JobSummary, out: Path) -> None:
    """Say what the job came to, and where it is.

    Parameters
    ----------
    summary : JobSummary
    out : Path
        The job's folder.
    """
    console = Console(highlight=False, soft_wrap=True)
    parts = [f"{summary.ok} ok"]
    if summary.resumed:
        parts[0] += f" ({summary.resumed} of them earlier)"
    for name in ("failed", "skipped", "malformed", "not_done"):
        if count := getattr(summary, name):
            parts.append(f"{count} {name.replace('_', ' ')}")
    rate = f", {summary.tasks_per_s:.1f} tasks/s" if summary.tasks_per_s is not None else ""
    console.print(f"{summary.lines} lines: {', '.join(parts)}")
    for skipped in summary.skipped_tasks[:_SHOWN]:
        console.print(escape(f"skipped {skipped.id} (line {skipped.line}): {skipped.reason}"))
    if len(summary.skipped_tasks) > _SHOWN:
        console.print(f"and {len(summary.skipped_tasks) - _SHOWN} more, listed in {SUMMARY}")
    for fault in summary.store_faults[:_SHOWN]:
        console.print(escape(f"not in the shared store: {fault}"), style="yellow")
    console.print(
        f"{summary.duration_s:.2f} s{rate}, {summary.result_messages} results passed from agent to "
        f"agent, {summary.usage.input_tokens:,} tokens in and {summary.usage.output_tokens:,} out, "
        f"answers from {summary.source}"
    )
    console.print(escape(f"results: {out / RESULTS}  summary: {out / SUMMARY}"))
    if summary.interrupted:
        console.print("stopped before the end; the same command goes on from here", style="yellow")
