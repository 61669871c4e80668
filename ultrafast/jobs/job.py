"""A whole job: the tasks file, who answers, the agents, the run, and the files it leaves.

Stands on the other modules of this package and on the manager. Tells an observer what happens and
prints nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

import ultrafast as uf
from ultrafast.executor.tasks import Task
from ultrafast.jobs.crew import AGENT_TYPES, CREW_CLASSES, crew_sizes
from ultrafast.jobs.journal import Journal, Record
from ultrafast.jobs.plan import Plan, read_plan
from ultrafast.jobs.runner import Crew, JobRunner, Outcome, check_resume
from ultrafast.jobs.source import ModelSource, open_source, source_name
from ultrafast.jobs.summary import SUMMARY, JobSummary, summarise, write_whole

__all__ = ["JobObserver", "JobOptions", "Measure", "run_job"]

_PING_S = 60.0
_SPAWN_BATCH = 1000
_LAST_WORDS_S = 2.0

Measure = Callable[[uf.UltraFastAgentManager, int, JobSummary], Awaitable[Any]]


class JobOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a job is to do.

    Parameters
    ----------
    tasks_file : Path
        See `read_plan`.
    out : Path
        Folder of the results.
    config : Config
        Of the system; `api_base_url` only where there is a key.
    agents : int, optional
        Agents alive during the job: those that do its tasks, and as many more as are missing. By
        default only the former.
    fail_fast : bool
        Begin no further task after one has failed.
    grace_s : float
        How long tasks under way may go on when the job is told to stop.
    """

    tasks_file: Path
    out: Path
    config: uf.Config
    agents: int | None = None
    fail_fast: bool = False
    grace_s: float = 5.0


class JobObserver(Protocol):
    """Who is told what happens."""

    def planned(self, plan: Plan, journal: Journal, resumed: Mapping[str, Record]) -> None:
        """The tasks file was read, and what an earlier run left."""
        ...

    def asking(self, source: ModelSource) -> None:
        """Who will answer."""
        ...

    def alive(self, answered: int, asked: int, seconds: float) -> None:
        """Agents were spawned and asked for a sign of life."""
        ...

    def started(self, task: Task) -> None:
        """A task began."""
        ...

    def recorded(self, record: Record) -> None:
        """A result is in the file."""
        ...


async def run_job(
    options: JobOptions,
    observer: JobObserver,
    stop: asyncio.Event,
    measure: Measure | None = None,
) -> tuple[JobSummary, Any]:
    """Do a job, and leave `results.jsonl` and `summary.json` in its folder.

    Parameters
    ----------
    options : JobOptions
    observer : JobObserver
    stop : asyncio.Event
        Set from outside to end early.
    measure : callable, optional
        Called with the manager, the number of agents and the summary when the tasks are done, while
        all agents are alive; not when the job was told to stop.

    Returns
    -------
    JobSummary
    object
        What `measure` returned, or None.

    Raises
    ------
    OSError
        If a file can't be read or written.
    JobBusy, JobChanged
        If the folder is another job's.
    ValueError
        If there are fewer agents than types of tasks.
    UltrafastError
        If the system can't be started.
    """
    plan = read_plan(options.tasks_file, CREW_CLASSES)
    with Journal(options.out) as journal:
        resumed = check_resume(plan, journal, source_name())
        observer.planned(plan, journal, resumed)
        todo = [each for each in plan.tasks if each not in resumed and each not in plan.unreachable]
        if todo or measure is not None:
            job = _Job(options, observer, stop, plan, journal, resumed, todo)
            async with open_source(options.config.api_base_url) as source:
                observer.asking(source)
                return await job.run(source, measure)
        outcome = Outcome(resumed=resumed, skipped=dict(plan.unreachable))
        summary = summarise(
            plan,
            outcome,
            tasks_file=options.tasks_file,
            source=source_name(),
            endpoint="",
            damaged=journal.damaged,
            agents_asked=0,
            agents_alive=0,
            workers=0,
        )
        write_whole(options.out / SUMMARY, summary)
        return summary, None


class _Job:
    """One job under way; see `run_job`."""

    def __init__(
        self,
        options: JobOptions,
        observer: JobObserver,
        stop: asyncio.Event,
        plan: Plan,
        journal: Journal,
        resumed: dict[str, Record],
        todo: list[str],
    ) -> None:
        self._options = options
        self._observer = observer
        self._stop = stop
        self._plan = plan
        self._journal = journal
        self._resumed = resumed
        types = Counter(plan.tasks[each].task.type for each in todo)
        self._sizes = crew_sizes(types, options.agents)

    async def run(self, source: ModelSource, measure: Measure | None) -> tuple[JobSummary, Any]:
        """Start the system, do the tasks, measure, write the summary, end the system."""
        config = self._options.config
        if source.name == "loopback":
            config = msgspec.structs.replace(config, api_base_url=source.endpoint)
        measured = None
        manager = uf.UltraFastAgentManager(config, api_key=source.api_key)
        for task_type, cls in CREW_CLASSES.items():
            manager.register(AGENT_TYPES[task_type], cls)
        async with manager:
            agents = await self._spawn(manager)
            ids = [each for some in agents.values() for each in some]
            answered = await self._ping(manager, ids)
            crew = Crew(
                {each: agents[each][:size] for each, size in self._sizes.items()}, AGENT_TYPES
            )
            runner = JobRunner(
                manager,
                self._plan,
                self._journal,
                crew,
                source=source.name,
                resumed=self._resumed,
                concurrency=config.executor_concurrency,
                stop=self._stop,
                grace_s=self._options.grace_s,
                fail_fast=self._options.fail_fast,
                on_start=self._observer.started,
                on_record=self._observer.recorded,
            )
            outcome = await runner.run()
            summary = summarise(
                self._plan,
                outcome,
                tasks_file=self._options.tasks_file,
                source=source.name,
                endpoint=source.endpoint,
                damaged=self._journal.damaged,
                agents_asked=len(ids),
                agents_alive=answered,
                workers=len(manager.statistics().workers),
            )
            # Before anything else can fail: what was done is on record.
            write_whole(self._options.out / SUMMARY, summary)
            if measure is not None and not self._stop.is_set():
                measured = await self._until_stopped(measure(manager, len(ids), summary))
            if self._stop.is_set():
                # Tasks that are still under way in a worker have had their time already.
                await manager.shutdown(timeout_s=_LAST_WORDS_S)
        if self._stop.is_set() and not summary.interrupted:
            summary = msgspec.structs.replace(summary, interrupted=True)
            write_whole(self._options.out / SUMMARY, summary)
        return summary, measured

    async def _spawn(self, manager: uf.UltraFastAgentManager) -> dict[str, list[int]]:
        """The crew, and idle agents of the same types up to the number asked for."""
        wanted = dict(self._sizes)
        missing = max(0, (self._options.agents or 0) - sum(wanted.values()))
        types = list(wanted) or list(AGENT_TYPES)
        for index, task_type in enumerate(types):
            more = missing // len(types) + (index < missing % len(types))
            wanted[task_type] = wanted.get(task_type, 0) + more
        agents: dict[str, list[int]] = {}
        for task_type, n in wanted.items():
            ids = agents.setdefault(task_type, [])
            while len(ids) < n and not self._stop.is_set():
                batch = min(_SPAWN_BATCH, n - len(ids))
                ids += await manager.spawn_agents(AGENT_TYPES[task_type], batch)
        return agents

    async def _ping(self, manager: uf.UltraFastAgentManager, ids: list[int]) -> int:
        started = asyncio.get_running_loop().time()
        if self._stop.is_set():
            return 0
        answered = await manager.ping_agents(ids, timeout_s=_PING_S)
        seconds = asyncio.get_running_loop().time() - started
        self._observer.alive(answered, len(ids), seconds)
        return answered

    async def _until_stopped(self, work: Awaitable[Any]) -> Any:
        """The work's value, or None when the job is told to stop first."""
        working = asyncio.ensure_future(work)
        ending = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
            return await working if working.done() else None
        finally:
            for each in (working, ending):
                each.cancel()
            await asyncio.wait({working, ending}, timeout=self._options.grace_s)
