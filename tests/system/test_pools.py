"""Pools of warm agents: how demand is forecast, when they grow and shrink, and at whose expense."""

import asyncio
import os
import signal
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import ultrafast as uf
from system.waiting import until
from ultrafast.agents.placing import pools
from ultrafast.agents.placing.demand import Forecast
from ultrafast.agents.placing.pools import PoolKeeper
from ultrafast.core.answers import Census

STEP_NS = 100_000_000


class Slow(uf.Agent):
    """Takes the loop for two milliseconds to be built."""

    built = 0

    def __init__(self) -> None:
        Slow.built += 1
        until = perf_counter() + 0.002
        while perf_counter() < until:
            pass

    def on_message(self, message: uf.IncomingMessage) -> Any:
        return message.body


class Witness(uf.Agent):
    """Sends itself one message after the other, and notes how many were built at each."""

    def on_start(self) -> None:
        self.built: set[int] = set()

    def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.body == "answer":
            return sorted(self.built)
        self.built.add(Slow.built)
        if Slow.built < 100:
            self.context.send_nowait(self.id, "once more")
        return None


def test_a_demand_that_grows_evenly_is_forecast_as_it_will_be() -> None:
    forecast = Forecast()
    for step in range(2_000):
        forecast.add(3.0 + 0.5 * step)
    wanted = sum(3.0 + 0.5 * step for step in range(2_000, 2_020))
    assert forecast.ahead(20) == pytest.approx(wanted, rel=1e-6)


def test_a_demand_that_falls_is_never_forecast_to_be_less_than_none() -> None:
    forecast = Forecast()
    for step in range(50):
        forecast.add(100.0 - 2.0 * step)
    assert forecast.trend < 0.0 < forecast.level
    assert 0.0 < forecast.ahead(1_000) < 100.0 * 50
    for _ in range(400):
        forecast.add(0.0)
    assert forecast.ahead(20) < 0.01


class Bench:
    """A keeper of one pool of four over records that only this class changes."""

    def __init__(self, capacity: int = 1_000, room: int = 500) -> None:
        self.census = Census(0, 0, 0, 0, 0, 0, 0)
        self.now = 0
        self.said: list[tuple[int, int]] = []
        self.empty: list[dict[str, Any]] = []
        self.given_back = 0
        agents = SimpleNamespace(
            capacity=capacity,
            mend=lambda: True,
            census=lambda number: self.census,
            set_target=lambda number, target: self.change(target=target - self.census.target),
            dismiss=self.dismiss,
        )
        endpoint: Any = SimpleNamespace(agents=agents, ask=self.ask)
        spawner: Any = SimpleNamespace(type_of=lambda name: 0, next_host=lambda: 0)
        self.keeper = PoolKeeper(
            endpoint,
            spawner,
            uf.AgentPoolConfig(pre_warm={}),
            self.hear,
            max_agents=capacity - room,
            clock=lambda: self.now,
        )
        self.keeper.add("t", 4)

    def hear(self, subject: str, told: dict[str, Any]) -> None:
        if subject == "pool.empty":
            self.empty.append(told)
        else:
            self.said.append((told["from"], told["to"]))

    def change(self, **by: int) -> None:
        now = self.census._asdict()
        self.census = self.census._replace(**{name: now[name] + n for name, n in by.items()})

    async def ask(self, host: int, lane: int, order: bytes, kind: int, **more: Any) -> Any:
        share = msgspec.msgpack.decode(order)[1]
        self.change(warm=share)
        return SimpleNamespace(
            tobytes=lambda: int(share).to_bytes(8, "little"), release=lambda: None
        )

    def dismiss(self, number: int, n: int) -> int:
        self.change(warm=-n)
        self.given_back += n
        return n

    async def step(self, claimed: int = 0, cold: int = 0, ended: int = 0) -> int:
        """A tenth of a second, in which so many were claimed, built cold, and ended."""
        self.change(warm=-claimed, claimed=claimed, cold=cold, alive=claimed + cold - ended)
        self.now += STEP_NS
        self.keeper.tick()
        for _ in range(3):
            await asyncio.sleep(0)
        return self.keeper.states()["t"].target


def test_between_the_thresholds_a_pool_stays_as_it_is() -> None:
    async def main() -> None:
        bench = Bench()
        for _ in range(3):
            assert await bench.step() == 4
        assert await bench.step(claimed=2, ended=0) == 4  # half of it, once
        for _ in range(60):
            assert await bench.step() == 4
        assert bench.said == []

    asyncio.run(main())


def test_a_steady_demand_makes_it_hold_what_two_seconds_need_and_no_more() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.step()
        for _ in range(200):
            target = await bench.step(claimed=2, ended=2)
        state = bench.keeper.states()["t"]
        assert state.demand_per_s == pytest.approx(20.0, rel=0.05)
        assert state.forecast == pytest.approx(40.0, rel=0.05)
        assert 40 / 0.8 <= target <= 64  # four times sixteen is all it may have
        grown = len(bench.said)
        for _ in range(50):
            assert await bench.step(claimed=2, ended=2) == target
        assert len(bench.said) == grown

    asyncio.run(main())


def test_what_is_built_cold_is_demand_as_well() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.step()
        for _ in range(100):
            await bench.step(cold=3)
        assert bench.keeper.states()["t"].demand_per_s == pytest.approx(30.0, rel=0.05)

    asyncio.run(main())


def test_a_pool_that_spawns_find_empty_says_so_once_until_it_is_not() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.step()
        assert bench.empty == []
        await bench.step(cold=1)  # one that asked for a worker of its own: the pool is full
        assert bench.empty == []
        bench.change(warm=-4, claimed=4)
        await bench.step(cold=2)
        await bench.step()
        assert [(told["type"], told["missed"]) for told in bench.empty] == [("t", 2)]

    asyncio.run(main())


def test_it_shrinks_after_a_second_of_calm_and_gives_back_what_it_has_too_much() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.step()
        assert await bench.step(claimed=4) >= 8  # it was used up
        while bench.keeper.states()["t"].forecast > 0.5:
            await bench.step()
        begun = len(bench.said)
        target = await bench.step()
        quiet = 0
        while target > 4:
            quiet += 1
            target = await bench.step()
            assert quiet < 100
        assert len(bench.said) > begun or target == 4
        await bench.step()
        assert bench.census.warm == bench.census.target == 4
        assert bench.given_back > 0
        assert bench.keeper.states()["t"].demand_per_s < 1.0  # giving back is no demand
        ups = [(a, b) for a, b in bench.said if b > a]
        downs = [(a, b) for a, b in bench.said if b < a]
        assert ups and downs
        # No to and fro: all of its growth came before all of its shrinking.
        assert bench.said == ups + downs

    asyncio.run(main())


def test_pools_take_no_record_that_live_agents_may_need() -> None:
    async def main() -> None:
        bench = Bench(room=10)
        await bench.step()
        for _ in range(20):
            assert await bench.step(claimed=2, ended=2) <= 10

    asyncio.run(main())


@pytest.mark.usefixtures("clean_shm")
def test_a_pool_in_demand_grows_and_when_nobody_asks_gives_its_agents_back() -> None:
    async def main() -> None:
        pool = uf.AgentPoolConfig(pre_warm={"tester": 4})
        config = uf.Config(workers=1, max_concurrent_agents=2_000, agent_pool=pool)
        async with uf.UltraFastAgentManager(config) as m:
            spawned = 0

            def state() -> Any:
                return m.statistics().pools["tester"]

            async with asyncio.timeout(60):
                while state().target <= 8:
                    await m.spawn_agents("tester", 2)
                    spawned += 2
                    await asyncio.sleep(0.02)
            assert state().demand_per_s > 0.0
            assert state().forecast > 0.0
            await until(lambda: (state().target, state().warm, state().building) == (4, 4, 0))
            # None of those that live was taken for one too many.
            assert await m.ping_agents() == spawned
            await until(lambda: "stopped" not in m.statistics().agents["tester"])
            assert m.statistics().agents["tester"] == {"warm": 4, "active": spawned}

    asyncio.run(main())


@pytest.mark.usefixtures("clean_shm")
def test_agents_are_answered_while_a_pool_is_filled() -> None:
    async def main() -> None:
        config = uf.Config(workers=1, max_concurrent_agents=500)
        async with uf.UltraFastAgentManager(config) as m:
            m.register("witness", Witness)
            witness = await m.spawn_agent("witness")
            assert await m.send_message(None, witness, "begin")
            m.register("slow", Slow, pre_warm=100)
            await until(lambda: m.statistics().agents.get("slow", {}).get("warm", 0) == 100)
            seen = await m.request(None, witness, "answer", timeout_s=30.0)
            # Those before the first was built, and after the last, do not count.
            assert len(set(seen) - {0, 100}) >= 10

    asyncio.run(main())


class Lengthy(uf.Agent):
    """Is not warm until a file is there."""

    async def on_warm(self) -> None:
        while not os.path.exists(os.environ["UF_TEST_GATE"]):
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("clean_shm")
def test_what_a_worker_did_not_build_before_it_died_is_ordered_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pools, "_BUILD_S", 1e6)  # only an answer ends an order
    gate = tmp_path / "open"
    monkeypatch.setenv("UF_TEST_GATE", str(gate))  # the workers' as well

    async def main() -> None:
        async with uf.UltraFastAgentManager(uf.Config(workers=1)) as m:
            m.register("lengthy", Lengthy, pre_warm=3)
            await m.spawn_agent("lengthy")  # its worker learns the type
            await until(lambda: m.statistics().pools["lengthy"].building == 3)
            order = m._pools._pools["lengthy"]
            assert order.ordered > 0
            os.kill(m.pids()[1], signal.SIGKILL)
            gate.touch()
            await until(lambda: order.ordered == 0)  # its successor answered what it had to build
            await until(lambda: m.statistics().pools["lengthy"].warm == 3)

    asyncio.run(main())
