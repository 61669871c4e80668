"""What the executor adds to a task: the model answers at once, so this is the overhead alone."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import ExitStack
from time import perf_counter_ns

from ultrafast import OptimizedExecutor, Task, UltraFastMemoryStore
from ultrafast.core import Table
from ultrafast.executor.cache import ResultCache
from ultrafast.testing import ScriptedModel

from ._measure import Times, quicker, reports, summary
from ._places import region

_AT_ONCE = 100


@reports("us")
class Execute:
    """Per task: each by itself, a hundred at once, and from the shared cache of results."""

    params = ("each by itself", "100 at once", "from the cache")
    param_names = ("how",)

    def setup_cache(self) -> dict[tuple[str], Times]:
        with ExitStack() as stack:
            place = stack.enter_context(region(value_blocks=((2_048, 4_096),)))
            cache = ResultCache(UltraFastMemoryStore(Table(place)), ttl_s=600.0)
            return {(how,): summary(times) for how, times in asyncio.run(_tasks(cache)).items()}


async def _tasks(cache: ResultCache) -> dict[str, list[int]]:
    plain = OptimizedExecutor(ScriptedModel(lambda request: "four"), concurrency=20)
    cached = OptimizedExecutor(ScriptedModel(lambda request: "four"), cache=cache)
    numbers = itertools.count()
    same = Task(id="same", objective="What is 2 + 2?")

    def new() -> Task:
        number = next(numbers)
        return Task(id=f"task-{number}", objective=f"What is 2 + {number}?")

    await cached.execute(same)
    times: dict[str, list[int]] = {how: [] for how in Execute.params}
    for _ in range(quicker(40, 2)):
        for _ in range(50):
            task = new()
            start = perf_counter_ns()
            await plain.execute(task)
            times["each by itself"].append(perf_counter_ns() - start)
            start = perf_counter_ns()
            result = await cached.execute(same)
            times["from the cache"].append(perf_counter_ns() - start)
            if not result.cached:
                raise RuntimeError("the result did not come from the cache")
        tasks = [new() for _ in range(_AT_ONCE)]
        start = perf_counter_ns()
        await asyncio.gather(*map(plain.execute, tasks))
        times["100 at once"].append((perf_counter_ns() - start) // _AT_ONCE)
    return times
