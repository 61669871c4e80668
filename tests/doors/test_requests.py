"""The table of requests: each ends once, by its answer, its time, its asker or the end of all."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from ultrafast.core._requests import Requests


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def test_a_sweep_ends_those_whose_time_is_over_and_no_others() -> None:
    async def main() -> None:
        armed: list[int] = []
        requests = Requests(armed.append)
        loop = asyncio.get_running_loop()
        futures = {until: loop.create_future() for until in (300, 100, 200, 400)}
        for number, (until, future) in enumerate(futures.items()):
            requests.expect(number, until, future)
        assert armed == [300, 100]  # told anew only where an earlier time comes
        assert requests.sweep(99) == 100
        assert requests.sweep(200) == 300
        assert [until for until, future in futures.items() if future.done()] == [100, 200]
        for until in (100, 200):
            with pytest.raises(TimeoutError):
                await futures[until]
        assert len(requests) == 2
        requests.expect(9, 250, loop.create_future())
        assert armed == [300, 100, 250]
        requests.forget(9)
        futures[300].cancel()
        assert requests.sweep(201) == 400
        assert requests.sweep(400) is None and len(requests) == 0
        with pytest.raises(TimeoutError):
            await futures[400]

    run(main())


def test_cancelled_askers_do_not_pile_up() -> None:
    async def main() -> None:
        requests = Requests(lambda at: None)
        loop = asyncio.get_running_loop()
        kept = loop.create_future()
        requests.expect(0, 10**15, kept)
        for number in range(1, 10_000):
            future = loop.create_future()
            requests.expect(number, 10**15, future)
            future.cancel()
            assert len(requests) < 3_000
        requests.fail(lambda: ConnectionError("over"))
        with pytest.raises(ConnectionError):
            await kept
        assert len(requests) == 0

    run(main())
