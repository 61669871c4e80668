"""Spare workers: one takes a dead worker's place, a dead one harms nobody, none stays behind."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import ultrafast as uf
from system.waiting import until

pytestmark = [pytest.mark.usefixtures("clean_shm"), pytest.mark.timeout(120)]


class Where(uf.Agent):
    def on_message(self, message: uf.IncomingMessage) -> Any:
        return os.getpid()


def run(body: Callable[[uf.UltraFastAgentManager], Awaitable[None]], **config: Any) -> None:
    async def main() -> None:
        settings = {"workers": 1, "max_concurrent_agents": 50, **config}
        manager = uf.UltraFastAgentManager(uf.Config(**settings))
        manager.register("where", Where)
        async with manager:
            await body(manager)

    asyncio.run(main())


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_spare_takes_the_place_of_a_killed_worker_and_another_is_started() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        ids = await m.spawn_agents("where", 20)
        await until(lambda: m.statistics().spares)
        (spare,) = m.statistics().spares
        (worker,) = m.statistics().workers
        assert m.pids() == [os.getpid(), worker.pid, spare]
        os.kill(worker.pid, signal.SIGKILL)
        assert [await m.request(None, each, None, timeout_s=30.0) for each in ids] == [spare] * 20
        assert [w.pid for w in m.statistics().workers] == [spare]
        await until(lambda: m.statistics().spares)
        assert m.statistics().spares != [spare]

    run(body)


def test_a_spare_that_died_is_not_used_and_replaced() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        where = await m.spawn_agent("where")
        await until(lambda: m.statistics().spares)
        (spare,) = m.statistics().spares
        (worker,) = m.statistics().workers
        os.kill(spare, signal.SIGKILL)
        while is_alive(spare):  # without a turn of the loop, so that nobody has buried it
            time.sleep(0.001)
        os.kill(worker.pid, signal.SIGKILL)
        assert await m.request(None, where, None, timeout_s=30.0) not in (spare, worker.pid)
        assert m.statistics().workers[0].restarts == 1
        await until(lambda: m.statistics().spares)
        assert m.statistics().spares != [spare]

    run(body)


def test_there_are_none_where_none_are_asked_for() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        await asyncio.sleep(1.5)  # one would have been started
        assert m.statistics().spares == []
        (worker,) = m.statistics().workers
        where = await m.spawn_agent("where")
        os.kill(worker.pid, signal.SIGKILL)
        assert await m.request(None, where, None, timeout_s=30.0) != worker.pid

    run(body, spare_workers=0)


@pytest.mark.parametrize("end", ["shutdown", "kill"])
def test_no_spare_outlives_its_manager(end: str, tmp_path: Path) -> None:
    code = """
        import asyncio, sys
        import ultrafast as uf

        async def main():
            config = uf.Config(workers=1, max_concurrent_agents=50, region_path=sys.argv[1])
            async with uf.UltraFastAgentManager(config) as m:
                while not m.statistics().spares:
                    await asyncio.sleep(0.01)
                print(*m.pids(), flush=True)
                if sys.argv[2] == "kill":
                    await asyncio.sleep(60)

        asyncio.run(main())
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", textwrap.dedent(code), str(tmp_path), end],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 3
        if end == "kill":
            process.kill()
        assert process.wait(30) == (-signal.SIGKILL if end == "kill" else 0)
        assert process.stdout.read() == ""  # also those who inherited it end
    asyncio.run(until(lambda: not any(map(is_alive, pids))))
