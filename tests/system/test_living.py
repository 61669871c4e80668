"""What agents have beyond messages: names, groups, timers, state, restarts, watchers, threads."""

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import ultrafast as uf
from ultrafast import errors
from ultrafast.metric_names import Counter

pytestmark = pytest.mark.usefixtures("clean_shm")


class Echo(uf.Agent):
    def on_message(self, message: uf.IncomingMessage) -> Any:
        return [os.getpid(), message.body]


class Leader(uf.Agent):
    """Does with its context what it is told."""

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        what, *given = message.body
        c = self.context
        if what == "team":
            name, size = given
            first = await c.spawn_agent("echo", name=name, affinity=self.id, groups=["team"])
            rest = await c.spawn_agents("echo", size, affinity=self.id)
            for each in rest:
                c.join("team", each)
            asked = [await c.request(each, 1) for each in c.members("team")]
            return [first, rest, os.getpid(), [pid for pid, _ in asked]]
        if what == "stop":
            monitor = c.monitor(c.lookup(given[0]) or 0)
            stopped = await c.terminate_agent(c.lookup(given[0]) or 0)
            end = await monitor.wait(30)
            return [stopped, end.how, c.lookup(given[0])]
        if what == "link":
            c.link(given[0])
        return None


class Crashing(uf.Agent):
    """Ends its worker with it whenever it starts."""

    def on_start(self) -> None:
        self.context.memory_store.incr("starts", "crashing")
        os.kill(os.getpid(), signal.SIGKILL)

    def on_message(self, message: uf.IncomingMessage) -> None:
        raise AssertionError("it never started")


class Keeper(uf.Agent):
    """Counts in its state."""

    state_saved = "message"

    def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.body == "raise":
            self.state["count"] = 1_000
            raise ValueError("as you wish")
        self.state.setdefault("seen", []).append(message.body)
        self.state["count"] = self.state.get("count", 0) + 1
        return dict(self.state)


class Ticking(uf.Agent):
    """Counts the calls of its timers."""

    def on_start(self) -> None:
        self.ticks = self.once = 0
        self.timer = self.every(0.01, self.tick)
        self.after(0.01, self.one)
        self.after(0.01, self.one).cancel()

    async def tick(self) -> None:
        await asyncio.sleep(0)
        self.ticks += 1

    def one(self) -> None:
        self.once += 1

    def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.body == "cancel":
            self.timer.cancel()
        return [self.ticks, self.once]


class Frail(uf.Agent):
    """Fails when told; says how often it was built."""

    def on_start(self) -> None:
        built = self.context.memory_store.incr("built", f"{self.id:x}")
        if self.context.memory_store.get("built", "bad", 0) and built > 1:
            raise RuntimeError("not again")

    def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.body == "fail":
            raise ValueError("told to")
        if message.body == "end":
            self.context.end()
        return self.context.memory_store.get("built", f"{self.id:x}")


class Parent(uf.Agent):
    """Has a child that fails for good."""

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.body == "child":
            return await self.context.spawn_agent("brittle")
        return None


class Two(uf.Agent):
    """Two of its messages meet."""

    def on_start(self) -> None:
        self.met = asyncio.Event()

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.body:
            self.met.set()
        await self.met.wait()
        return True


class Blocking(uf.Agent):
    """Waits in a thread for what another agent of its process does."""

    gate = threading.Event()

    @uf.in_thread
    def on_message(self, message: uf.IncomingMessage) -> Any:
        self.context.send_nowait(message.body, "open")
        return [self.gate.wait(60), threading.current_thread() is threading.main_thread()]


class Opener(uf.Agent):
    def on_message(self, message: uf.IncomingMessage) -> Any:
        Blocking.gate.set()


TYPES: dict[str, tuple[type[uf.Agent], dict[str, Any]]] = {
    "echo": (Echo, {}),
    "leader": (Leader, {}),
    "keeper": (Keeper, {}),
    "ticking": (Ticking, {}),
    "frail": (Frail, {"restart": uf.Restart(on_error="fail", backoff_s=0.01, intensity=3)}),
    "always": (Frail, {"restart": "always"}),
    "never": (Echo, {"restart": "never"}),
    "crashing": (Crashing, {"restart": "never"}),
    "brittle": (Frail, {"restart": uf.Restart(intensity=0, on_error="fail", escalate=True)}),
    "parent": (Parent, {"restart": uf.Restart(intensity=0)}),
    "two": (Two, {"concurrency": 2}),
    "blocking": (Blocking, {}),
    "opener": (Opener, {}),
    "few": (Echo, {"max_agents": 3}),
}


def run(body: Callable[[uf.UltraFastAgentManager], Awaitable[None]], workers: int = 1) -> None:
    async def main() -> None:
        config = uf.Config(
            workers=workers,
            max_concurrent_agents=400,
            agent_pool=uf.AgentPoolConfig(pre_warm={"coder": 1}),
        )
        async with uf.UltraFastAgentManager(config) as m:
            for name, (cls, options) in TYPES.items():
                m.register(name, cls, **options)
            await body(m)

    asyncio.run(main())


async def kill(m: uf.UltraFastAgentManager) -> None:
    """Kill the worker, with nothing in it that it would have to do again.

    A message is answered first and then given back, so that no answer is lost: one whose worker
    dies in between comes again. A ping is handled when what came before it is given back.
    """
    assert await m.ping_agents(timeout_s=60) > 0
    started = asyncio.ensure_future(m.events.wait_for("worker.started", timeout_s=60))
    await asyncio.sleep(0)
    os.kill(m.statistics().workers[0].pid, signal.SIGKILL)
    await started


@pytest.mark.parametrize("workers", [0, 2])
def test_names_and_groups_from_manager_and_agents(workers: int) -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        leader = await m.spawn_agent("leader", name="leader")
        assert m.lookup("leader") == leader and m.lookup("nobody") is None
        with pytest.raises(errors.NameTaken, match=f"{leader:#x}"):
            await m.spawn_agent("echo", name="leader")
        with pytest.raises(errors.InvalidArgument):
            await m.spawn_agent("echo", name="")
        asked = await m.request(None, leader, ["team", "planner", 20], timeout_s=60)
        first, rest, pid, pids = asked
        assert m.lookup("planner") == first and set(pids) == {pid}
        assert sorted(m.members("team")) == sorted([first, *rest])
        assert {m.pick("team") for _ in range(21)} == {first, *rest}
        before = m.metrics_counter(Counter.HANDLED)
        assert await m.broadcast(first, "team", "hi") == 20
        async with asyncio.timeout(60):
            while m.metrics_counter(Counter.HANDLED) < before + 20:
                await asyncio.sleep(0.005)
        m.leave("team", rest[0])
        assert rest[0] not in m.members("team")
        answer = await m.request(None, leader, ["stop", "planner"], timeout_s=60)
        assert answer == [True, "stopped", None]
        for each in rest:
            assert await m.terminate_agent(each)
        assert m.members("team") == [] and m.pick("team") is None
        assert await m.spawn_agent("echo", name="planner") not in (first, None)
        keys = set(m.memory_store.keys("ultrafast.bus"))
        assert not {key for key in keys if key.startswith("group-")}
        assert len({key for key in keys if key.startswith("card-")}) == 2

    run(body, workers)


def test_a_name_and_a_state_survive_a_worker_and_end_with_the_agent() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        named = await m.spawn_agent("keeper", name="k")
        other = await m.spawn_agent("keeper")
        for each in (named, other):
            await m.request(None, each, 1)
            with pytest.raises(errors.AgentError, match="as you wish"):
                await m.request(None, each, "raise")
            await m.request(None, each, 2)
        await kill(m)
        assert m.lookup("k") == named
        expected = {"seen": [1, 2, 3], "count": 1_002}
        assert await m.request(None, named, 3, timeout_s=60) == expected
        assert await m.request(None, other, 3, timeout_s=60) == expected
        assert await m.terminate_agent(named) and await m.terminate_agent(other)
        again = await m.spawn_agent("keeper", name="k")
        assert (await m.request(None, again, 4))["count"] == 1_003
        assert await m.terminate_agent(again, forget_state=True)
        assert list(m.memory_store.keys("ultrafast.state")) == []
        kept = [key for key in m.memory_store.keys("ultrafast.bus") if key.startswith("state-")]
        assert kept == []
        fresh = await m.spawn_agent("keeper", name="k")
        assert (await m.request(None, fresh, 5))["count"] == 1

    run(body)


def test_timers_take_their_turns_and_come_again_after_a_death() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        agent = await m.spawn_agent("ticking")

        async def ticked() -> Any:
            async with asyncio.timeout(60):
                while True:
                    seen = await m.request(None, agent, "seen", timeout_s=60)
                    if seen[0] >= 3 and seen[1] == 1:
                        return seen
                    await asyncio.sleep(0.01)

        await ticked()
        await kill(m)
        await ticked()
        at, _ = await m.request(None, agent, "cancel")
        await asyncio.sleep(0.05)
        assert (await m.request(None, agent, "seen"))[0] <= at + 1  # one may have been under way

    run(body)


def test_a_failed_agent_is_restarted_until_its_intensity_is_exceeded() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        agent = await m.spawn_agent("frail")
        monitor = m.monitor(agent)
        assert await m.request(None, agent, "count") == 1
        for n in range(2, 5):
            with pytest.raises(errors.AgentError, match="told to"):
                await m.request(None, agent, "fail")
            assert await m.request(None, agent, "count", timeout_s=30) == n
        with pytest.raises(errors.AgentError, match="told to"):
            await m.request(None, agent, "fail")
        end = await monitor.wait(30)
        assert (end.how, end.agent) == ("failed", agent) and "3 times within 30 s" in end.reason
        with pytest.raises(errors.AgentGone):
            await m.request(None, agent, "count")
        ends = [each async for each in m.monitor(agent)]
        assert [each.how for each in ends] == ["gone"]
        # A start that fails after a restart is tried again as often.
        agent = await m.spawn_agent("frail")
        monitor = m.monitor(agent)
        await m.request(None, agent, "count")
        m.memory_store.set("built", "bad", 1)
        with pytest.raises(errors.AgentError, match="told to"):
            await m.request(None, agent, "fail")
        assert "not again" in (await monitor.wait(30)).reason
        assert m.memory_store.get("built", f"{agent:x}") == 4

    run(body)


def test_always_never_links_and_escalation() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        always = await m.spawn_agent("always")
        assert await m.request(None, always, "end") == 1
        assert await m.request(None, always, "count", timeout_s=30) == 2
        frail = await m.spawn_agent("frail")
        end = m.monitor(frail)
        await m.request(None, frail, "end")
        assert (await end.wait(30)).how == "stopped"
        parent = await m.spawn_agent("parent")
        child = await m.request(None, parent, "child")
        leader = await m.spawn_agent("leader")
        await m.request(None, leader, ["link", parent])
        built = m.monitor(parent), m.monitor(child)
        restarted = m.events.wait_for("agent.restarted", timeout_s=60)
        waiting = asyncio.ensure_future(restarted)
        await asyncio.sleep(0)
        with pytest.raises(errors.AgentError, match="told to"):
            await m.request(None, child, "fail")
        ends = [await each.wait(30) for each in built]
        assert [each.how for each in ends] == ["failed", "failed"]
        assert f"{child:#x}" in ends[0].reason
        assert (await waiting).payload["agent"] == leader  # its link failed for good
        never = await m.spawn_agent("never")
        gone = m.monitor(never)
        await m.request(None, never, "has started")
        await kill(m)
        assert (await gone.wait(30)).how == "failed"
        assert await m.request(None, always, "count", timeout_s=30) == 3

    run(body)


def test_one_that_is_never_restarted_ends_with_a_worker_that_died_of_its_start() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        gone = m.monitor(await m.spawn_agent("crashing"))
        end = await gone.wait(60)
        assert (end.how, m.memory_store.get("starts", "crashing")) == ("failed", 1)
        assert "before it had started" in end.reason

    run(body)


def test_messages_at_a_time_threads_and_limits() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        two = await m.spawn_agent("two")
        async with asyncio.timeout(60):
            assert await asyncio.gather(*(m.request(None, two, n, timeout_s=60) for n in (0, 1)))
        assert await m.terminate_agent(two)
        opener = await m.spawn_agent("opener")
        blocking = await m.spawn_agent("blocking")
        assert await m.request(None, blocking, opener, timeout_s=60) == [True, False]
        few = await m.spawn_agents("few", 3)
        with pytest.raises(errors.AgentTypeFull, match="3 agents of type 'few'"):
            await m.spawn_agent("few")
        assert await m.terminate_agent(few[0])
        few.append(await m.spawn_agent("few"))
        assert await m.ping_agents(few[1:]) == 3
        with pytest.raises(errors.InvalidArgument, match="concurrency is 0"):
            m.register("none", Echo, concurrency=0)
        with pytest.raises(errors.InvalidArgument, match="allowed is 'on-failure'"):
            m.register("none", Echo, restart="often")  # type: ignore[arg-type]  # refused

    run(body)


def test_agents_go_where_the_fewest_are() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        async def places(ids: list[int]) -> dict[int, int]:
            found = [(await m.request(None, each, 0, timeout_s=60))[0] for each in ids]
            return {pid: found.count(pid) for pid in found}

        first = await m.spawn_agent("echo")
        beside = await m.spawn_agents("echo", 30, affinity=first)
        (full,) = await places([first, *beside])
        await asyncio.sleep(0.15)  # a count is kept for a tenth of a second
        more = await m.spawn_agents("echo", 20) + [await m.spawn_agent("echo") for _ in range(5)]
        assert full not in await places(more)
        for each in beside:
            assert await m.terminate_agent(each)
        await asyncio.sleep(0.15)
        assert await places([await m.spawn_agent("echo") for _ in range(8)]) == {full: 8}

    run(body, workers=2)
