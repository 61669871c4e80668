"""What a tasks file asks for: its tasks, its faulty lines, and the order between them.

Stands on msgspec and the executor's tasks. Reads a file once and decides nothing about running it;
a faulty line is a fact about that line, and never stops the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from ultrafast.errors import TaskInvalid
from ultrafast.executor.tasks import Task, decode_task

__all__ = ["FaultyLine", "Plan", "PlannedTask", "parse_plan", "read_plan", "task_digest"]


class FaultyLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that is no task that can be done.

    Parameters
    ----------
    line : int
        Its number, from 1.
    id : str, optional
        The task's id, where it can be read.
    reason : str
        What is wrong with it.
    """

    line: int
    id: str | None
    reason: str


class PlannedTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task and where it stands in its file.

    Parameters
    ----------
    task : Task
    line : int
        Its number, from 1.
    digest : str
        Changes when the work asked for changes; see `task_digest`.
    """

    task: Task
    line: int
    digest: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A tasks file, read.

    Parameters
    ----------
    tasks : dict of str to PlannedTask
        The sound tasks by id, in the file's order.
    successors : dict of str to tuple of str
        For each sound task, those that come after it.
    faults : tuple of FaultyLine
        The faulty lines, in the file's order.
    unreachable : dict of str to str
        Sound tasks that wait, directly or not, for a faulty line; and the reason.
    """

    tasks: dict[str, PlannedTask]
    successors: dict[str, tuple[str, ...]]
    faults: tuple[FaultyLine, ...]
    unreachable: dict[str, str]

    @property
    def lines(self) -> int:
        """How many lines of the file say something."""
        return len(self.tasks) + len(self.faults)

    def after(self, task_id: str) -> tuple[str, ...]:
        """The tasks whose results this one needs, each once."""
        return tuple(dict.fromkeys(self.tasks[task_id].task.after))

    def blocked_by(self, failed: Mapping[str, str]) -> dict[str, str]:
        """Which tasks can't be done when others can't, and why.

        Parameters
        ----------
        failed : mapping
            Ids that have no result, and what to call that: "failed", "is malformed (line 3)".

        Returns
        -------
        dict of str to str
            Id and reason of every task that comes after one of them, directly or not.
        """
        return _spread(failed, self.successors)


def task_digest(task: Task) -> str:
    """A short name for the work a task asks for.

    Parameters
    ----------
    task : Task

    Returns
    -------
    str
        Equal for tasks that ask the same; `metadata`, which no model sees, makes no difference.
    """
    asked = (task.type, task.objective, task.constraints, task.after, task.context)
    return hashlib.blake2b(msgspec.json.encode(asked, order="sorted"), digest_size=12).hexdigest()


def read_plan(path: Path, types: Collection[str]) -> Plan:
    """Read a tasks file.

    Parameters
    ----------
    path : Path
        One JSON object a line; empty lines say nothing.
    types : collection of str
        The agent types there are.

    Returns
    -------
    Plan

    Raises
    ------
    OSError
        If the file can't be read.
    """
    return parse_plan(path.read_bytes(), types)


def parse_plan(data: bytes, types: Collection[str]) -> Plan:
    """Read what a tasks file holds; see `read_plan`.

    Examples
    --------
    >>> plan = parse_plan(b'{"id": "a", "objective": "x", "after": ["b"]}', ["coder"])
    >>> plan.faults[0].reason
    "it comes after 'b', which no line has"
    """
    sound: dict[str, PlannedTask] = {}
    faults: list[FaultyLine] = []
    # Ids on faulty lines: who waits for one is held up, not faulty as well.
    lost: dict[str, int] = {}
    for number, line in _lines(data):
        try:
            task = decode_task(line, where=f"line {number}")
        except TaskInvalid as error:
            reason = str(error).removeprefix(f"line {number}: ")
            found = _readable_id(line)
            faults.append(FaultyLine(line=number, id=found, reason=reason))
            if found is not None:
                lost.setdefault(found, number)
            continue
        if task.id in sound:
            reason = f"the id {task.id!r} is taken by line {sound[task.id].line}"
            faults.append(FaultyLine(line=number, id=task.id, reason=reason))
        else:
            sound[task.id] = PlannedTask(task=task, line=number, digest=task_digest(task))

    for fault in _inconsistencies(sound, lost, types):
        faults.append(fault)
    for fault in faults:
        if fault.id is not None and fault.id in sound and sound[fault.id].line == fault.line:
            del sound[fault.id]
            lost[fault.id] = fault.line
    successors = _successors(sound.values())
    held_up = {each: f"is malformed (line {line})" for each, line in lost.items()}
    return Plan(
        tasks=sound,
        successors={each: successors.get(each, ()) for each in sound},
        faults=tuple(sorted(faults, key=lambda fault: fault.line)),
        # A second line with a sound task's id is faulty, and holds nobody up.
        unreachable=_spread({i: r for i, r in held_up.items() if i not in sound}, successors),
    )


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            yield number, line


def _readable_id(line: bytes) -> str | None:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


def _inconsistencies(
    sound: Mapping[str, PlannedTask], lost: Mapping[str, int], types: Collection[str]
) -> Iterator[FaultyLine]:
    """Lines that are tasks by themselves, and faulty among the others."""
    faulty = set()
    for each, planned in sound.items():
        missing = [one for one in planned.task.after if one not in sound and one not in lost]
        reason = None
        if planned.task.type not in types:
            known = ", ".join(sorted(types))
            reason = f"there is no agent type {planned.task.type!r}; there are {known}"
        elif missing:
            names = ", ".join(map(repr, missing))
            reason = f"it comes after {names}, which no line has"
        if reason is not None:
            faulty.add(each)
            yield FaultyLine(line=planned.line, id=each, reason=reason)
    for circle in _circles({i: planned.task.after for i, planned in sound.items()}):
        around = ", ".join(f"{each!r} (line {sound[each].line})" for each in sorted(circle))
        for each in circle - faulty:
            reason = f"it waits for itself: {around} come after one another"
            yield FaultyLine(line=sound[each].line, id=each, reason=reason)


def _circles(after: Mapping[str, Iterable[str]]) -> Iterator[set[str]]:
    """The groups of tasks that wait for each other, after Tarjan, without recursion."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    for root in after:
        if root in order:
            continue
        path = [(root, iter(after[root]))]
        order[root] = low[root] = len(order)
        stack.append(root)
        on_stack.add(root)
        while path:
            each, rest = path[-1]
            for other in rest:
                if other not in after:
                    continue
                if other not in order:
                    order[other] = low[other] = len(order)
                    stack.append(other)
                    on_stack.add(other)
                    path.append((other, iter(after[other])))
                    break
                if other in on_stack:
                    low[each] = min(low[each], order[other])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[each])
                if low[each] == order[each]:
                    group: set[str] = set()
                    while each not in group:
                        group.add(stack.pop())
                    on_stack -= group
                    if len(group) > 1:
                        yield group


def _successors(planned: Iterable[PlannedTask]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for each in planned:
        for before in dict.fromkeys(each.task.after):
            found.setdefault(before, []).append(each.task.id)
    return {before: tuple(later) for before, later in found.items()}


def _spread(
    sources: Mapping[str, str], successors: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    reasons: dict[str, str] = {}
    front = [(each, f"{each!r}, which it comes after, {what}") for each, what in sources.items()]
    while front:
        each, reason = front.pop()
        for later in successors.get(each, ()):
            if later not in reasons and later not in sources:
                reasons[later] = reason
                front.append((later, f"{later!r}, which it comes after, was skipped"))
    return reasons
