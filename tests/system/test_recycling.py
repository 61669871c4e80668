"""A worker that takes too much memory hands its agents over: nothing is lost or comes twice."""

import asyncio
import os
from collections import Counter as Tally
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import ultrafast as uf
from ultrafast.agents.processes import recycling
from ultrafast.agents.processes.recycling import MemoryLimit, own_bytes
from ultrafast.metric_names import Counter

pytestmark = [pytest.mark.usefixtures("clean_shm"), pytest.mark.timeout(120)]

MIB = 1 << 20


class Hoarder(uf.Agent):
    """Takes memory when told, and keeps it."""

    def on_start(self) -> None:
        self.hoard: list[bytearray] = []

    def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.body:
            self.hoard.append(bytearray(b"\1") * (message.body * MIB))
        return [os.getpid(), len(self.hoard)]


class Scribe(uf.Agent):
    """Writes down what it handled, and whether it had come before; takes its time over it."""

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        path, number, seconds = message.body
        with open(path, "a", encoding="utf-8") as log:
            log.write(f"begun {number} {int(message.redelivered)}\n")
        await asyncio.sleep(seconds)
        with open(path, "a", encoding="utf-8") as log:
            log.write(f"ended {number} {int(message.redelivered)}\n")


class Keeper(uf.Agent):
    """Counts in state that is saved seldom."""

    state_saved = 3600.0

    def on_message(self, message: uf.IncomingMessage) -> Any:
        self.state["count"] = self.state.get("count", 0) + 1
        return self.state["count"]


def run(body: Callable[[uf.UltraFastAgentManager], Awaitable[None]], **config: Any) -> None:
    async def main() -> None:
        settings = {
            "workers": 1,
            "max_concurrent_agents": 50,
            "worker_memory_bytes": 150 * MIB,
            **config,
        }
        manager = uf.UltraFastAgentManager(uf.Config(**settings))
        manager.register("hoarder", Hoarder)
        manager.register("scribe", Scribe, delivery="at-most-once", restart="never")
        manager.register("scribe again", Scribe)
        manager.register("keeper", Keeper)
        async with manager:
            await body(manager)

    asyncio.run(main())


def tally(path: Path) -> Tally[str]:
    return Tally(path.read_text().splitlines())


def test_its_agents_go_on_elsewhere_and_no_message_is_lost_or_comes_twice(tmp_path: Path) -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        path = tmp_path / "log"
        hoarder = await m.spawn_agent("hoarder")
        scribe = await m.spawn_agent("scribe")
        keeper = await m.spawn_agent("keeper")
        assert [await m.request(None, keeper, None) for _ in range(3)] == [1, 2, 3]
        recycled = asyncio.ensure_future(m.events.wait_for("worker.recycled", 60))
        started = asyncio.ensure_future(m.events.wait_for("worker.started", 60))
        await asyncio.sleep(0)
        assert 0 < (before := m.statistics().workers[0].own_bytes) < 80 * MIB
        await m.request(None, hoarder, 60, timeout_s=30.0)
        assert before + 55 * MIB < m.statistics().workers[0].own_bytes < 150 * MIB
        # What it takes when that is too much tells the event: it may be gone already.
        pid, _ = await m.request(None, hoarder, 200, timeout_s=30.0)
        sent = 0
        while not started.done():
            sent += await m.send_message(None, scribe, [str(path), sent, 0.0])
            await asyncio.sleep(0.001)
        payload = (await recycled).payload
        assert payload["worker"] == 0
        assert payload["bytes"] > 150 * MIB
        assert payload["limit"] == 150 * MIB
        assert payload["whole"]
        # Its object is new, and so is its process; the state is what it was.
        after, hoarded = await m.request(None, hoarder, 0, timeout_s=30.0)
        assert (after != pid, hoarded) == (True, 0)
        assert await m.request(None, keeper, None, timeout_s=30.0) == 4
        assert await m.request(None, scribe, [str(path), "last", 0.0], timeout_s=30.0) is None
        assert await m.ping_agents() == 3
        wanted = [*range(sent), "last"]
        assert tally(path) == Tally(f"{w} {n} 0" for n in wanted for w in ("begun", "ended"))
        assert m.dead_letters() == []
        assert m.metrics_counter(Counter.RECYCLED) == 1
        assert m.metrics_counter(Counter.WORKER_DEATHS) == 0
        assert m.metrics_counter(Counter.REDELIVERED) == 0
        assert m.statistics().workers[0].own_bytes < 150 * MIB

    run(body)


def test_agents_that_never_rest_are_held_and_handlers_cut_short_begin_again(tmp_path: Path) -> None:
    """One handler outlasts all patience; beside it messages come so fast that it is never quiet."""

    async def body(m: uf.UltraFastAgentManager) -> None:
        path = tmp_path / "log"
        hoarder = await m.spawn_agent("hoarder")
        stubborn = await m.spawn_agent("scribe again")
        other = await m.spawn_agent("scribe again")
        once = await m.spawn_agent("scribe")
        recycled = asyncio.ensure_future(m.events.wait_for("worker.recycled", 60))
        started = asyncio.ensure_future(m.events.wait_for("worker.started", 60))
        await asyncio.sleep(0)
        assert await m.send_message(None, stubborn, [str(path), "stubborn", 100.0])
        await m.request(None, hoarder, 200, timeout_s=30.0)
        sent = 0
        while not started.done():
            assert await m.send_message(None, other, [str(path), f"a{sent}", 0.0])
            assert await m.send_message(None, once, [str(path), f"o{sent}", 0.0])
            sent += 1
            await asyncio.sleep(0.005)
        assert not (await recycled).payload["whole"]
        for each in (other, once):
            assert await m.request(None, each, [str(path), "x", 0.0], timeout_s=30.0) is None
        found = tally(path)
        assert found["begun stubborn 0"] == found["begun stubborn 1"] == 1
        assert found["ended stubborn 0"] == 0
        for number in range(sent):
            ended = found[f"ended a{number} 0"], found[f"ended a{number} 1"]
            assert sorted(ended) == [0, 1], number
        held = [number for number in range(sent) if found[f"ended a{number} 1"]]
        assert held
        # What may not come twice is not held back with the others', which are marked: of these two
        # ways, only what was in the worker's hands at its very end is a dead letter.
        letters = m.take_dead_letters(10_000)
        assert {(each.reason, each.receiver) for each in letters} <= {("not_repeated", once)}
        lost = Tally(each.body[1] for each in letters)
        for number in range(sent):
            name = f"o{number}"
            assert found[f"ended {name} 0"] + lost[name] == 1, name
            assert found[f"ended {name} 0"] <= found[f"begun {name} 0"] <= 1, name
            assert not found[f"begun {name} 1"], name
        assert any(found[f"ended o{number} 0"] for number in range(held[0], held[-1]))

    run(body, shutdown_timeout_s=1.0)


def test_one_above_the_limit_once_is_left_alone_and_one_that_stays_is_not_recycled_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    sizes: dict[int, int] = {}
    monkeypatch.setattr(recycling, "monotonic", lambda: clock[0])
    monkeypatch.setattr(recycling, "own_bytes", lambda pid: sizes[pid])
    limit = MemoryLimit(100)

    def look(size: int, seconds: float = 0.5) -> int | None:
        clock[0] += seconds
        sizes[7] = size
        return limit.exceeded(0, 7)

    assert [look(101), look(100), look(101)] == [None, None, None]
    assert look(102) == 102
    # Its successor needs as much: it rests for ten seconds, then for twenty.
    found = [look(200) for _ in range(70)]
    assert [at for at, size in enumerate(found) if size] == [19, 59]
    assert look(1, 100.0) is None  # all forgotten
    assert [look(200), look(200)] == [None, 200]
    assert MemoryLimit(0).exceeded(0, 7) is None


def test_what_is_measured_is_what_ends_with_the_process() -> None:
    before = own_bytes(os.getpid())
    taken = bytearray(b"\1") * (64 * MIB)
    assert own_bytes(os.getpid()) - before > 60 * MIB
    del taken
    assert own_bytes(2**22 + 1) == 0
