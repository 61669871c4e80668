"""`OptimizedExecutor`: tasks in, results out, with a limit, a deadline, a cache and counts.

Stands on the other modules of this package and on any `Model`. It decides when a request is made
and what counts as a result; it does not talk to the network and knows nothing of agents.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from types import TracebackType

import msgspec

from ultrafast.errors import TaskFailed, TaskInvalid, TaskTimeout, UltrafastError
from ultrafast.executor.cache import ResultCache, SingleFlight, request_key
from ultrafast.executor.claude import DEFAULT_MODEL
from ultrafast.executor.model import Completion, Model, ModelRequest
from ultrafast.executor.profiles import BUILTIN_PROFILES, Profile, build_request
from ultrafast.executor.tasks import Constraints, Result, Task, Usage

__all__ = ["ExecutorStatistics", "OptimizedExecutor", "failed_result"]


class ExecutorStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the executor was made.

    submitted = ok + failed + cancelled + in_flight.

    Attributes
    ----------
    submitted, ok, failed, cancelled, in_flight : int
        Tasks, by what became of them.
    waiting : int
        Requests in the queue for a place.
    cached, shared : int
        Of `ok`: answered from the cache, or by an identical request already under way.
    attempts : int
        Requests sent, retries and turns included, whatever came of them.
    usage, cost_usd : Usage, float
        Spent, also on answers that were no results.
    errors : dict of str to int
        Failures by the name of their class.
    """

    submitted: int
    ok: int
    failed: int
    cancelled: int
    in_flight: int
    waiting: int
    cached: int
    shared: int
    attempts: int
    usage: Usage
    cost_usd: float
    errors: dict[str, int]


class OptimizedExecutor:
    """Executes tasks on a model.

    Parameters
    ----------
    model : Model
        `ClaudeConnectionPool`, or anything else that meets the protocol.
    concurrency : int
        Requests under way at once. Answers from the cache take no place.
    cache : ResultCache, optional
        Where answers are kept and looked up; none by default.
    default_model : str
        For tasks and profiles that name none.
    clock : callable
        What durations are measured with.

    Notes
    -----
    Threads: one event loop. Waits: a task's `timeout_s` at most; it counts from the call and
    includes the wait for a place.

    Identical requests under way at once are made once, unless the task has `cache=False`, the
    profile has tools, or the text is passed on as it comes: then it is a request of its own.
    """

    def __init__(
        self,
        model: Model,
        *,
        concurrency: int = 20,
        cache: ResultCache | None = None,
        default_model: str = DEFAULT_MODEL,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}; it must be at least 1")
        self._model = model
        self._concurrency = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._cache = cache
        self._default_model = default_model
        self._clock = clock
        self._flights: SingleFlight[Completion] = SingleFlight()
        self._submitted = self._ok = self._failed = self._cancelled = 0
        self._waiting = self._cached = self._shared = self._attempts = 0
        self._usage = Usage()
        self._cost_usd = 0.0
        self._errors: Counter[str] = Counter()

    async def execute(
        self,
        task: Task,
        profile: Profile | None = None,
        *,
        agent: str | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Result:
        """Do one task.

        Parameters
        ----------
        task : Task
        profile : Profile, optional
            Who does it; the built-in profile of `task.type` when not given.
        agent : str, optional
            Written into the result.
        on_text : callable, optional
            Given each piece of the answer as it comes.

        Returns
        -------
        Result
            With status `ok`.

        Raises
        ------
        TaskTimeout
            The time ran out, in the queue or at the model.
        TaskInvalid
            No such profile, or the API refused the request as it stands.
        TaskFailed
            The model answered, and it is no result: a refusal, no text, tools without end.
        ModelError
            And its subclasses: the model could not be asked.
        """
        started = self._clock()
        self._submitted += 1
        try:
            request = build_request(task, self._profile(task, profile), self._default_model)
            async with asyncio.timeout(task.constraints.timeout_s):
                completion, origin = await self._answer(task, request, on_text)
            if (fault := _fault_of(completion, task.constraints)) is not None:
                raise TaskFailed(f"task {task.id!r}: {completion.model} {fault}")
        except asyncio.CancelledError:
            self._cancelled += 1
            raise
        except UltrafastError as error:
            self._count_failure(error)
            raise
        except TimeoutError as error:
            late = _late(task)
            self._count_failure(late)
            raise late from error
        except Exception as error:
            # A model that breaks its promise, or a callback: the batch around it must go on.
            wrapped = TaskFailed(f"task {task.id!r}: {type(error).__name__}: {error}")
            self._count_failure(wrapped)
            raise wrapped from error
        return self._result(task, completion, origin, agent, self._clock() - started)

    async def execute_batch(
        self,
        tasks: Iterable[Task],
        profiles: Mapping[str, Profile] | None = None,
        *,
        on_result: Callable[[Result], None] | None = None,
    ) -> list[Result]:
        """Do many tasks; none stops the others.

        A task begins, and its time with it, when one of `concurrency` places is free, so a long
        batch does not use up the time of those at its end.

        Parameters
        ----------
        tasks : iterable of Task
            Not ordered among each other; `after` is for whoever schedules.
        profiles : mapping, optional
            Profile by task type, looked at before the built-in ones.
        on_result : callable, optional
            Given each result as it comes.

        Returns
        -------
        list of Result
            In the order of `tasks`; a failure is a result with status `failed`.
        """
        queue = list(enumerate(tasks))
        results: dict[int, Result] = {}
        pending = iter(queue)

        async def work() -> None:
            for index, task in pending:
                started = self._clock()
                try:
                    result = await self.execute(task, (profiles or {}).get(task.type))
                except UltrafastError as error:
                    result = failed_result(task, error, duration_s=self._clock() - started)
                results[index] = result
                if on_result is not None:
                    on_result(result)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._concurrency, len(queue))):
                group.create_task(work())
        return [results[index] for index, _ in queue]

    def statistics(self) -> ExecutorStatistics:
        """Counts so far."""
        done = self._ok + self._failed + self._cancelled
        return ExecutorStatistics(
            submitted=self._submitted,
            ok=self._ok,
            failed=self._failed,
            cancelled=self._cancelled,
            in_flight=self._submitted - done,
            waiting=self._waiting,
            cached=self._cached,
            shared=self._shared,
            attempts=self._attempts,
            usage=self._usage,
            cost_usd=self._cost_usd,
            errors=dict(self._errors),
        )

    async def aclose(self) -> None:
        """Close the model, where it can be closed."""
        close = getattr(self._model, "aclose", None)
        if close is not None:
            await close()

    async def __aenter__(self) -> OptimizedExecutor:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    @staticmethod
    def _profile(task: Task, profile: Profile | None) -> Profile:
        profile = profile or BUILTIN_PROFILES.get(task.type)
        if profile is None:
            known = ", ".join(BUILTIN_PROFILES)
            raise TaskInvalid(
                f"task {task.id!r}: no profile for type {task.type!r}; built in are {known}, "
                "others are passed along"
            )
        return profile

    async def _answer(
        self, task: Task, request: ModelRequest, on_text: Callable[[str], None] | None
    ) -> tuple[Completion, str]:
        """The completion, and whether it is `new`, `cached` or `shared`."""
        reusable = task.constraints.cache and not request.tools
        key = request_key(request) if reusable else ""
        if reusable and self._cache is not None:
            kept = self._cache.get(key)
            if kept is not None:
                if on_text is not None:
                    on_text(kept.text)
                return kept, "cached"
        deadline = asyncio.get_running_loop().time() + request.timeout_s

        began = False

        async def call() -> Completion:
            nonlocal began
            began = True
            completion = await self._call(request, deadline, on_text)
            good = _fault_of(completion, task.constraints) is None
            if good and reusable and self._cache is not None:
                self._cache.set(key, completion)
            return completion

        if not reusable or on_text is not None:
            return await call(), "new"
        while True:
            try:
                completion, joined = await self._flights.run(key, call)
            except TaskTimeout:
                # Whoever began it had less time than we: then we begin it anew, in our own.
                if began or asyncio.get_running_loop().time() >= deadline:
                    raise
            else:
                return completion, "shared" if joined else "new"

    async def _call(
        self, request: ModelRequest, deadline: float, on_text: Callable[[str], None] | None
    ) -> Completion:
        """One request, in one of the places."""
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                raise TaskTimeout(
                    f"request to {request.model}: none of the {self._concurrency} places was free "
                    f"within {request.timeout_s:g} s"
                )
            request = msgspec.structs.replace(request, timeout_s=left)
            if on_text is None:
                completion = await self._model.complete(request)
            else:
                completion = await self._streamed(request, on_text)
        except UltrafastError as error:
            self._attempts += getattr(error, "attempts", 0)
            raise
        finally:
            self._slots.release()
        # Counted here, where it is spent, and not with the result: it may be shared, or no result.
        self._attempts += completion.attempts
        self._usage += completion.usage
        self._cost_usd += completion.cost_usd or 0.0
        return completion

    async def _streamed(self, request: ModelRequest, on_text: Callable[[str], None]) -> Completion:
        async with aclosing(self._model.stream(request)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Completion):
                    return piece
                on_text(piece)
        raise TaskFailed(f"request to {request.model}: the stream ended without a completion")

    def _result(
        self, task: Task, completion: Completion, origin: str, agent: str | None, duration_s: float
    ) -> Result:
        new = origin == "new"
        self._ok += 1
        self._cached += origin == "cached"
        self._shared += origin == "shared"
        usage, cost = completion.usage, completion.cost_usd
        if not new:
            usage, cost = Usage(), None if cost is None else 0.0
        return Result(
            task_id=task.id,
            status="ok",
            text=completion.text,
            model=completion.model,
            stop_reason=completion.stop_reason,
            usage=usage,
            cost_usd=cost,
            duration_s=duration_s,
            cached=origin == "cached",
            shared=origin == "shared",
            attempts=completion.attempts if new else 0,
            agent=agent,
            via=completion.via,
        )

    def _count_failure(self, error: UltrafastError) -> None:
        self._failed += 1
        self._errors[type(error).__name__] += 1


def failed_result(
    task: Task, error: BaseException, *, duration_s: float = 0.0, agent: str | None = None
) -> Result:
    """The result of a task that raised.

    Parameters
    ----------
    task : Task
    error : BaseException
        What it raised.
    duration_s : float
        How long it had run.
    agent : str, optional
        Who did it.

    Returns
    -------
    Result
        With status `failed`.

    Examples
    --------
    >>> task = Task(id="t1", objective="x")
    >>> failed_result(task, TaskFailed("no text")).error_type
    'TaskFailed'
    """
    return Result(
        task_id=task.id,
        status="failed",
        duration_s=duration_s,
        attempts=getattr(error, "attempts", 0),
        error=str(error),
        error_type=type(error).__name__,
        agent=agent,
    )


def _late(task: Task) -> TaskTimeout:
    return TaskTimeout(
        f"task {task.id!r} had no result within {task.constraints.timeout_s:g} s, waiting "
        "included; allow more with constraints.timeout_s or raise the concurrency"
    )


def _fault_of(completion: Completion, limits: Constraints) -> str | None:
    """Why the completion is no result, or None."""
    if completion.stop_reason == "refusal":
        return "refused the task; put the objective in other words"
    if completion.stop_reason == "tool_use":
        return f"still asked for tools after {limits.max_turns} turns; raise constraints.max_turns"
    if completion.text.strip():
        return None
    if completion.stop_reason == "max_tokens":
        return (
            f"used all {limits.max_tokens} tokens before it wrote any text (thinking counts); "
            "raise constraints.max_tokens or lower constraints.effort"
        )
    return f"answered without text (stop reason {completion.stop_reason})"
