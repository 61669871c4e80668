"""First steps of coroutines: in a task's name, and without one where nothing is waited for."""

import asyncio
from typing import Any

import pytest

from ultrafast.core._walkers import Walker, Walkers


async def parked(walkers: Walkers, walker: Walker) -> None:
    while walkers.park(walker, 2):
        await walker.parked


def test_first_steps_end_fail_or_wait() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wanted: list[int] = []
        walkers = Walkers(loop, lambda: wanted.append(1))
        made = [Walker() for _ in range(3)]
        for walker in made:
            walker.set_task(loop.create_task(parked(walkers, walker)))
        await asyncio.sleep(0)
        assert len(walkers) == 2 and made[2].task.done()  # two at most

        me = asyncio.current_task()
        seen: list[Any] = []

        async def say(value: Any, wait: bool = False) -> Any:
            seen.append(asyncio.current_task())
            if wait:
                await asyncio.sleep(1)
            if isinstance(value, Exception):
                raise value
            return value

        assert walkers.first(say((1, 2))) == (1, 2)
        with pytest.raises(KeyError):
            walkers.first(say(KeyError("k")))
        assert asyncio.current_task() is me and seen == [made[1].task] * 2 and not wanted
        waits = walkers.first(say(3, wait=True))
        assert waits is made[1] and waits.coroutine is not None and asyncio.isfuture(waits.yielded)
        assert asyncio.current_task() is me and not wanted
        waits.coroutine.close()
        other = walkers.first(say(4, wait=True))
        assert other is made[0] and wanted == [1]
        assert other.coroutine is not None
        other.coroutine.close()
        left = say(5)
        assert walkers.first(left) is left and wanted == [1, 1]  # nobody is free
        assert await left == 5
        await asyncio.sleep(0)
        assert len(walkers) == 2  # woken, they found nothing to do, and parked again
        walkers.close()
        await asyncio.sleep(0)
        assert len(walkers) == 0 and all(walker.task.done() for walker in made)

    asyncio.run(main())
