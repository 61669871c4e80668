"""Agents change their worker: with their state, and without losing or reordering a message."""

import asyncio
import functools
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import ultrafast as uf
from system import moves
from system.waiting import until
from ultrafast.bus.wire import Kind
from ultrafast.codec import RAW
from ultrafast.core import now_ns
from ultrafast.core._agents import ACTIVE, ARRIVING, MOVING, STARTING
from ultrafast.core._status import OK
from ultrafast.metric_names import Counter

pytestmark = [pytest.mark.usefixtures("clean_shm"), pytest.mark.timeout(120)]


class Nomad(uf.Agent):
    """Keeps what it is told, and says where it is; has a subscription and a timer."""

    state_saved = 3600.0

    def on_start(self) -> None:
        self.ticks = 0
        self.state["starts"] = self.state.get("starts", 0) + 1
        self.context.subscribe("news.*", self._heard)
        self.context.timer(0.01, self._tick, again=True)

    def _heard(self, publication: Any) -> None:
        self.state.setdefault("news", []).append(publication.payload)

    def _tick(self) -> None:
        self.ticks += 1

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.body == "work":
            store = self.context.memory_store
            store.set("nomad", "at work", True)
            while store.get("nomad", "at work"):
                await asyncio.sleep(0.001)
        if message.body is not None:
            self.state.setdefault("heard", []).append(message.body)
        return {**self.state, "pid": os.getpid(), "ticks": self.ticks}


class Settled(uf.Agent):
    """Stays where it is."""

    def on_message(self, message: uf.IncomingMessage) -> int:
        return os.getpid()


class Fragile(Nomad):
    """Saves at each message, which is what outlives a death."""

    state_saved = "message"


class Mourned(Fragile):
    """Leaves behind what it was told."""

    def on_stop(self) -> None:
        self.context.memory_store.set("fragile", "heard", self.state.get("heard", []))


class Lingering(uf.Agent):
    """Takes its time to end."""

    def on_start(self) -> None:
        store = self.context.memory_store
        store.set("lingering", "starts", (store.get("lingering", "starts") or 0) + 1)

    def on_message(self, message: uf.IncomingMessage) -> int:
        return os.getpid()

    async def on_stop(self) -> None:
        store = self.context.memory_store
        store.set("lingering", "says goodbye", True)
        while store.get("lingering", "says goodbye"):
            await asyncio.sleep(0.001)


class Worn(uf.Agent):
    """At work for a millisecond for each message."""

    def on_message(self, message: uf.IncomingMessage) -> None:
        until = time.perf_counter() + 0.001
        while time.perf_counter() < until:
            pass


def run(*bodies: Callable[[uf.UltraFastAgentManager], Awaitable[None]], **config: Any) -> None:
    """Each in turn, in one system: starting one takes longer than most of them."""

    async def main() -> None:
        settings = {"workers": 2, "max_concurrent_agents": 50, **config}
        manager = uf.UltraFastAgentManager(uf.Config(**settings))
        patient = uf.Restart(intensity=100, backoff_s=0.001)
        manager.register("nomad", Nomad, movable=True, restart=patient)
        manager.register("fragile", Fragile, movable=True, restart=patient)
        manager.register("mourned", Mourned, movable=True, restart=patient)
        manager.register("lingering", Lingering, restart=patient)
        manager.register("settled", Settled)
        manager.register("worn", Worn, movable=True, mailbox_capacity=10_000)
        async with manager:
            for body in bodies:
                await body(manager)

    asyncio.run(main())


def worker_of(m: uf.UltraFastAgentManager, agent: int) -> int:
    info = m._endpoint.agents.look(agent)
    assert info is not None
    return m.host_number(info.worker)


def state_of(m: uf.UltraFastAgentManager, agent: int) -> int:
    info = m._endpoint.agents.look(agent)
    assert info is not None
    return info.state


async def kill(m: uf.UltraFastAgentManager, worker: int) -> None:
    """Kill a worker, and wait until the kernel's word of it has come."""
    before = m.statistics().workers[worker]
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    await until(lambda: m.statistics().workers[worker].restarts > before.restarts)


async def lives_on_elsewhere(m: uf.UltraFastAgentManager) -> None:
    agent = await m.spawn_agent("nomad", name="wanderer", groups=["nomads"])
    for number in range(3):
        before = await m.request(None, agent, number, timeout_s=60.0)
    home, moved = worker_of(m, agent), m.metrics_counter(Counter.MOVED)
    told = asyncio.ensure_future(m.events.wait_for("agent.moved", 30))
    await asyncio.sleep(0)
    assert await m.move_agent(agent)
    assert (await told).payload == {"agent": agent, "left": home, "worker": 1 - home}
    assert m.metrics_counter(Counter.MOVED) == moved + 1
    assert await m.publish("news.today", "moved")
    after = await m.request(None, m.lookup("wanderer"), 3, timeout_s=60.0)
    assert after["heard"] == [0, 1, 2, 3] and after["starts"] == 2
    assert after["pid"] != before["pid"]
    assert m.members("nomads") == [agent]
    await until_true(m, agent, lambda said: said["ticks"] > 1 and said["news"] == ["moved"])
    info = m._endpoint.agents.look(agent)
    assert info is not None and info.restarts == 0 and info.state == ACTIVE
    # There already; and back again, to where another one lives.
    assert not await m.move_agent(agent, worker=1 - home)
    other = await m.spawn_agent("settled")
    while worker_of(m, other) != home:
        other = await m.spawn_agent("settled")
    assert await m.move_agent(agent, affinity=other)
    assert (await m.request(None, agent, None, timeout_s=60.0))["pid"] == before["pid"]
    assert await m.terminate_agent(agent) and m.lookup("wanderer") is None


async def until_true(m: uf.UltraFastAgentManager, agent: int, what: Callable[[Any], bool]) -> None:
    async with asyncio.timeout(30):
        while not what(await m.request(None, agent, None, timeout_s=60.0)):
            await asyncio.sleep(0.01)


async def what_cannot_move_is_said(m: uf.UltraFastAgentManager) -> None:
    settled, nomad = await m.spawn_agent("settled"), await m.spawn_agent("nomad")
    elsewhere = 1 - worker_of(m, settled)
    with pytest.raises(uf.errors.InvalidArgument, match=r"'settled'.*movable=True"):
        await m.move_agent(settled, worker=elsewhere)
    with pytest.raises(uf.errors.InvalidArgument, match="no worker 2: this system has 2"):
        await m.move_agent(nomad, worker=2)
    # One that is at work is waited for.
    work = asyncio.ensure_future(m.request(None, nomad, "work", timeout_s=60.0))
    await until(lambda: m.memory_store.get("nomad", "at work") is True)
    with pytest.raises(TimeoutError, match="was not idle"):
        await m.move_agent(nomad, timeout_s=0.1)
    moving = asyncio.ensure_future(m.move_agent(nomad, timeout_s=30.0))
    await asyncio.sleep(0)
    m.memory_store.delete("nomad", "at work")
    assert (await work)["heard"] == ["work"]
    assert await moving
    await m.terminate_agent(nomad)
    with pytest.raises(uf.errors.AgentGone):
        await m.move_agent(nomad)


def test_where_the_manager_hosts_there_is_nowhere_to_go() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        agent = await m.spawn_agent("nomad")
        await m.request(None, agent, None, timeout_s=60.0)
        assert not await m.move_agent(agent)

    run(body, workers=0)


def test_one_that_arrives_between_two_looks_at_it_gets_what_found_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        host, agents, here = m._host, m._endpoint.agents, m._endpoint.index
        assert host is not None
        elsewhere, number = here + 1, m._spawner.type_of("nomad")
        agent = agents.new(number, elsewhere, 2, STARTING, 1000, 0, now_ns())
        assert agents.move(agent, STARTING, ACTIVE) == OK
        assert agents.leave(agent, elsewhere, here) == OK
        look, looked = host._restore, []

        def restore(agent_id: int, repeated: bool = False) -> Any:
            found = look(agent_id, repeated)
            if not looked:
                looked.append(found)
                assert agents.move(agent, MOVING, ARRIVING) == OK
            return found

        monkeypatch.setattr(host, "_restore", restore)
        for each in range(3):
            assert m.bus.send_nowait(None, agent, each)
        assert (await m.request(None, agent, 3, timeout_s=60.0))["heard"] == [0, 1, 2, 3]
        assert looked == [None] and m.dead_letters() == []
        assert await m.terminate_agent(agent)

    run(body, workers=0)


def test_nothing_is_lost_or_overtaken_while_agents_move() -> None:
    report = asyncio.run(moves.run(2.0, 0, 1))
    assert report.passed and report.dead_lettered == 0 and report.redelivered == 0, report


def test_nothing_is_lost_or_overtaken_while_workers_are_killed_as_well() -> None:
    report = asyncio.run(moves.run(2.5, 3, 2))
    assert report.passed and report.dead_lettered == 0, report


async def arrives_though_one_dies(m: uf.UltraFastAgentManager, dead: str) -> None:
    """The record says that it moves, and its worker knows nothing of it: so it would be had it died
    between the two."""
    agents, moved = m._endpoint.agents, m.metrics_counter(Counter.MOVED)
    agent = await m.spawn_agent("fragile")
    await m.request(None, agent, "first", timeout_s=60.0)
    await m.request(
        None, agent, None, timeout_s=60.0
    )  # answered: the first one's block is given back, too
    home = worker_of(m, agent)
    assert agents.leave(agent, *map(m._spawner.host, (home, 1 - home))) == OK
    for number in range(20):
        assert m.bus.send_nowait(None, agent, number)
    if dead != "left":
        await kill(m, 1 - home)
        assert state_of(m, agent) == MOVING
    if dead == "chosen":
        # Its messages wait for it, however often who keeps them dies.
        await asyncio.sleep(0.1)
        assert state_of(m, agent) == MOVING
    await kill(m, home)
    found = await m.request(None, agent, "last", timeout_s=60.0)
    assert found["heard"] == ["first", *range(20), "last"]
    assert worker_of(m, agent) == 1 - home and state_of(m, agent) == ACTIVE
    assert m.metrics_counter(Counter.MOVED) == moved + 1
    assert await m.terminate_agent(agent)


async def an_untold_arrival_is_found(m: uf.UltraFastAgentManager) -> None:
    agents = m._endpoint.agents
    agent = await m.spawn_agent("fragile")
    await m.request(None, agent, "first", timeout_s=60.0)
    before = await m.request(None, agent, None, timeout_s=60.0)
    home = worker_of(m, agent)
    os.kill(before["pid"], signal.SIGSTOP)
    assert agents.leave(agent, *map(m._spawner.host, (home, 1 - home))) == OK
    assert agents.move(agent, MOVING, ARRIVING) == OK
    await kill(m, home)
    await until(lambda: state_of(m, agent) == ACTIVE)  # nobody sent it anything
    after = await m.request(None, agent, None, timeout_s=60.0)
    assert after["heard"] == ["first"] and after["starts"] == 2


async def strays_are_sent_on_in_order(m: uf.UltraFastAgentManager) -> None:
    agent = await m.spawn_agent("nomad")
    await m.request(None, agent, None, timeout_s=60.0)
    home = worker_of(m, agent)
    assert await m.move_agent(agent)
    for number in range(100):
        head = (int(Kind.DATA), RAW, 0, agent, m._endpoint.correlation(), now_ns())
        assert m._endpoint.post(m._spawner.host(home), 2, b"%d" % number, *head)
    async with asyncio.timeout(30):
        while True:
            heard = (await m.request(None, agent, None, timeout_s=60.0)).get("heard", [])
            if len(heard) == 100:
                break
            await asyncio.sleep(0.01)
    assert heard == [b"%d" % number for number in range(100)]
    # And what comes there for one that has ended is a dead letter, as ever.
    await m.terminate_agent(agent)
    head = (int(Kind.DATA), RAW, 0, agent, m._endpoint.correlation(), now_ns())
    assert m._endpoint.post(m._spawner.host(home), 2, b"late", *head)
    await until(lambda: len(m.take_dead_letters()) == 1)


async def one_that_ends_leaves_dead_letters(m: uf.UltraFastAgentManager) -> None:
    agents = m._endpoint.agents
    agent = await m.spawn_agent("fragile")
    await m.request(None, agent, None, timeout_s=60.0)
    home = worker_of(m, agent)
    assert agents.leave(agent, *map(m._spawner.host, (home, 1 - home))) == OK
    for number in range(5):
        assert m.bus.send_nowait(None, agent, number)
    assert agents.move(agent, MOVING, 0) == OK
    await until(lambda: len(m.dead_letters(reason="agent_gone")) == 5)


def test_it_lives_on_elsewhere_and_gets_what_is_sent_to_it() -> None:
    run(lives_on_elsewhere, what_cannot_move_is_said, strays_are_sent_on_in_order)


def test_whoever_dies_amid_a_move_the_agent_arrives_once_with_all_its_messages() -> None:
    run(
        *(functools.partial(arrives_though_one_dies, dead=dead) for dead in ("left", "both")),
        functools.partial(arrives_though_one_dies, dead="chosen"),
        an_untold_arrival_is_found,
        one_that_ends_leaves_dead_letters,
    )


def test_an_overloaded_worker_gives_agents_to_one_that_has_nothing_to_do() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        first = await m.spawn_agent("worn")
        ids = [first, *await m.spawn_agents("worn", 5, affinity=first)]
        home = worker_of(m, first)
        assert {worker_of(m, each) for each in ids} == {home}
        chance = random.Random(3)
        told = asyncio.ensure_future(m.events.wait_for("worker.overloaded", 60))
        async with asyncio.timeout(60):
            while {worker_of(m, each) for each in ids} == {home}:
                m.bus.send_many_nowait(None, [(chance.choice(ids), None) for _ in range(200)])
                await asyncio.sleep(0.02)
        payload = (await told).payload
        assert (payload["worker"], payload["to"]) == (home, 1 - home)
        assert await m.ping_agents(ids, timeout_s=60.0) == len(ids)
        assert 1 <= m.metrics_counter(Counter.MOVED) < len(ids)

    run(body, queue_capacity=512)  # a backlog, but one that is soon worked off


# --- ended amid a move


async def begins_to_move(m: uf.UltraFastAgentManager, kind: str) -> tuple[int, int]:
    """An agent whose record says that it moves, and nobody lets it go: until its worker, the
    second number, is killed."""
    agent = await m.spawn_agent(kind)
    assert await m.request(None, agent, None)
    home = worker_of(m, agent)
    assert m._endpoint.agents.leave(agent, *map(m._spawner.host, (home, 1 - home))) == OK
    return agent, home


async def ends_at_once(m: uf.UltraFastAgentManager) -> None:
    agent = await m.spawn_agent("nomad")
    home = worker_of(m, agent)
    work = asyncio.ensure_future(m.request(None, agent, "work", timeout_s=60.0))
    await until(lambda: m.memory_store.get("nomad", "at work") is True)
    assert m._endpoint.agents.leave(agent, *map(m._spawner.host, (home, 1 - home))) == OK
    for number in range(5):
        assert m.bus.send_nowait(None, agent, number)
    assert await m.terminate_agent(agent, drain=False)
    assert m._endpoint.agents.look(agent) is None
    with pytest.raises(uf.errors.AgentGone, match="agent stopped"):
        await work
    await until(lambda: len(m.dead_letters(reason="agent_gone")) == 5)
    assert len(m.dead_letters(reason="agent_stopped")) == 1
    m.take_dead_letters()


async def ends_at_once_though_one_dies(m: uf.UltraFastAgentManager, dead: str) -> None:
    agent, home = await begins_to_move(m, "fragile")
    pids = [each.pid for each in m.statistics().workers]
    first = home if dead == "left" else 1 - home
    for number in range(5):
        assert m.bus.send_nowait(None, agent, number)
    if dead == "there":
        assert m._endpoint.agents.move(agent, MOVING, ARRIVING) == OK
    os.kill(pids[first] or 0, signal.SIGSTOP)
    ending = asyncio.ensure_future(m.terminate_agent(agent, drain=False, timeout_s=60.0))
    await asyncio.sleep(0.05)
    assert not ending.done()
    await kill(m, first)
    assert await ending
    assert m._endpoint.agents.look(agent) is None
    await until(lambda: len(m.take_dead_letters()) == 5 if dead == "left" else True)
    m.take_dead_letters()


async def handles_what_was_accepted_then_ends(m: uf.UltraFastAgentManager, dies: bool) -> None:
    m.memory_store.delete("fragile", "heard")
    agent, home = await begins_to_move(m, "mourned")
    for number in range(20):
        assert m.bus.send_nowait(None, agent, number)
    ending = asyncio.ensure_future(m.terminate_agent(agent, timeout_s=60.0))
    gave_up = asyncio.ensure_future(m.terminate_agent(agent, timeout_s=0.1))
    with pytest.raises(TimeoutError):
        await gave_up
    assert state_of(m, agent) == MOVING and not ending.done()
    if dies:
        await kill(m, 1 - home)
    await kill(m, home)
    assert await ending
    assert m._endpoint.agents.look(agent) is None
    assert m.memory_store.get("fragile", "heard") == [*range(20)]
    assert not [each for each in m.dead_letters() if each.receiver == agent]


async def goes_on_to_its_end_though_nobody_waits(m: uf.UltraFastAgentManager) -> None:
    agent, home = await begins_to_move(m, "fragile")
    with pytest.raises(TimeoutError):
        await m.terminate_agent(agent, timeout_s=0.1)
    await kill(m, home)
    await until(lambda: m._endpoint.agents.look(agent) is None)


async def is_not_built_again_while_it_ends(m: uf.UltraFastAgentManager) -> None:
    agent = await m.spawn_agent("lingering")
    await m.request(None, agent, None)
    ending = asyncio.ensure_future(m.terminate_agent(agent, drain=False, timeout_s=60.0))
    await until(lambda: m.memory_store.get("lingering", "says goodbye") is True)
    for _ in range(5):  # as if sent before, in a lane whose turn comes late
        head = (int(Kind.DATA), RAW, 0, agent, m._endpoint.correlation(), now_ns())
        assert m._endpoint.post(m._spawner.host(worker_of(m, agent)), 2, b"late", *head)
    await until(lambda: len(m.dead_letters(reason="agent_gone")) == 5)
    m.memory_store.delete("lingering", "says goodbye")
    assert await ending
    assert m.memory_store.get("lingering", "starts") == 1
    m.take_dead_letters()


def test_one_that_moves_ends_as_any_other_whoever_dies() -> None:
    run(
        is_not_built_again_while_it_ends,
        ends_at_once,
        *(functools.partial(ends_at_once_though_one_dies, dead=dead) for dead in ("left", "there")),
        *(
            functools.partial(handles_what_was_accepted_then_ends, dies=dies)
            for dies in (False, True)
        ),
        goes_on_to_its_end_though_nobody_waits,
    )
