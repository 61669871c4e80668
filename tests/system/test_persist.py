"""Workers that outlive their manager go on, and the next one takes them over as they are."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import ultrafast as uf
from system import managerkills
from system.leaving import AGENTS, POINTS, Keeper, config_of, leave, left_behind, workers_of
from system.waiting import until
from ultrafast import errors
from ultrafast.agents.processes.control import Adopt, Place
from ultrafast.agents.processes.door import _address
from ultrafast.core import Region
from ultrafast.core.leftovers import region_path

pytestmark = [pytest.mark.usefixtures("clean_shm"), pytest.mark.timeout(140)]

Made = Callable[..., uf.Config]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    with contextlib.ExitStack() as stack:

        def make(**more: Any) -> uf.Config:
            config = config_of(tmp_path, **more)
            stack.enter_context(left_behind(config))
            return config

        yield make


def manager_of(config: uf.Config) -> uf.UltraFastAgentManager:
    manager = uf.UltraFastAgentManager(config)
    manager.register("keeper", Keeper)
    return manager


async def ask(m: Any, number: int, body: Any = "all") -> Any:
    agent = m.lookup(f"k{number}")
    assert agent is not None, number
    return await m.request(None, agent, body, timeout_s=60)


def nothing_is_left(config: uf.Config, pids: list[int]) -> bool:
    path = Path(region_path(config.region_path, config.name or ""))
    here = [each for each in path.parent.iterdir() if each.name.startswith(path.name)]
    ended = all(not Path(f"/proc/{pid}").exists() or _is_zombie(pid) for pid in pids)
    return ended and not here


def _is_zombie(pid: int) -> bool:
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def test_agents_go_on_and_every_message_is_handled_once(tmp_path: Path, made: Made) -> None:
    config = made()
    killed = leave(tmp_path, kill=False)

    async def main() -> None:
        before = workers_of(config)
        assert len(before) == 2
        path = region_path(config.region_path, config.name or "")
        async with uf.attach(path) as client:
            ids = [client.lookup(f"k{number}") for number in range(AGENTS)]
            handler = asyncio.ensure_future(ask(client, 0, {"wait_s": 0.5}))

            async def send(first: int, last: int) -> None:
                for body in range(first, last):
                    assert await client.send_message(None, ids[body % AGENTS], body, timeout_s=30)
                    await asyncio.sleep(0)

            sending = asyncio.ensure_future(send(0, 2000))
            await asyncio.sleep(0.02)
            killed.kill()
            killed.wait()
            await sending
            assert (await handler)["pid"] in before.values()  # it was running when that happened
            ticks = [(await ask(client, n))["ticks"] for n in range(AGENTS)]
            fresh = await client.spawn_agent("keeper")  # nobody fills pools, and agents come
            sending = asyncio.ensure_future(send(2000, 4000))
            async with manager_of(config) as m:
                assert m.adopted and workers_of(config) == before
                await sending
                states = [await ask(m, n) for n in range(AGENTS)]
                for number, state in enumerate(states):
                    assert state["seen"] == list(range(number, 4000, AGENTS))
                    assert state["pid"] in before.values()
                assert all(s["ticks"] > t for s, t in zip(states, ticks, strict=True))
                assert [w.restarts for w in m.statistics().workers] == [0, 0]
                assert await m.terminate_agent(fresh)
                new = await m.spawn_agent("keeper")
                assert (await m.request(None, new, "all", timeout_s=60))["seen"] == []
                # It supervises them: whoever dies gets a successor.
                os.kill(states[0]["pid"], signal.SIGKILL)
                await until(lambda: set(workers_of(config).values()) != set(before.values()))
                assert (await ask(m, 0))["pid"] not in before.values()
                pids = m.pids()[1:]
        assert nothing_is_left(config, [*pids, *before.values()])

    try:
        asyncio.run(main())
    finally:
        killed.kill()
        killed.wait()
        if killed.stdout is not None:
            killed.stdout.close()


@pytest.mark.parametrize("point", [point for point in POINTS if point != "recycled"])
def test_a_manager_that_dies_in_its_start_leaves_what_the_next_can_adopt(
    tmp_path: Path, made: Made, point: str
) -> None:
    config = made(workers=1)
    before: dict[int, int] = {}
    if point in ("adopt", "met"):
        leave(tmp_path)
        before = workers_of(config)
    leave(tmp_path, point)

    async def main() -> None:
        async with manager_of(config) as m:
            assert m.adopted
            if before:
                assert workers_of(config) == before
                assert (await ask(m, 0))["seen"] == []
            new = await m.spawn_agent("keeper")
            assert (await m.request(None, new, "all", timeout_s=60))["seen"] == []

    asyncio.run(main())


def test_a_worker_that_left_on_purpose_is_known_to_have_when_its_manager_dies(
    tmp_path: Path, made: Made
) -> None:
    config = made(workers=1, worker_memory_bytes=1 << 20)
    leave(tmp_path, "recycled")
    assert not workers_of(config)

    async def main() -> None:
        manager = uf.UltraFastAgentManager(config)
        manager.register("keeper", Keeper, restart="never")
        async with manager as m:  # a death would have ended them
            assert [(await ask(m, number))["seen"] for number in range(AGENTS)] == [[]] * AGENTS

    asyncio.run(main())


def test_managers_and_workers_killed_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    report = asyncio.run(managerkills.run(3, seed, workers_too=True, folder=tmp_path))
    assert report.passed, f"seed {seed}: {report}"


def test_what_a_dead_workers_agents_are_sent_waits_for_the_next_manager(
    tmp_path: Path, made: Made
) -> None:
    config = made()
    leave(tmp_path)
    leave(tmp_path)  # the second one adopted, and was killed as well

    async def main() -> None:
        before = workers_of(config)
        path = region_path(config.region_path, config.name or "")
        async with uf.attach(path) as client:
            states = [await ask(client, n) for n in range(AGENTS)]
            dead = states[0]["pid"]
            os.kill(dead, signal.SIGKILL)
            await until(lambda: dead not in workers_of(config).values())
            for number in range(AGENTS):
                agent = client.lookup(f"k{number}")
                assert await client.send_message(None, agent, "more", timeout_s=30)
            other = next(n for n in range(AGENTS) if states[n]["pid"] != dead)
            assert (await ask(client, other))["seen"] == ["more"]
        async with manager_of(config) as m:
            for number in range(AGENTS):
                state = await ask(m, number)
                assert state["seen"] == ["more"]
                assert (state["pid"] == states[number]["pid"]) == (states[number]["pid"] != dead)
        assert nothing_is_left(config, list(before.values()))

    asyncio.run(main())


def test_one_manager_at_a_time_and_with_the_same_settings(tmp_path: Path, made: Made) -> None:
    config = made(workers=1)
    leave(tmp_path)
    before = workers_of(config)

    async def main() -> None:
        plain = {name: getattr(config, name) for name in config.__struct_fields__}
        other = uf.Config(**{**plain, "mailbox_capacity": 7})
        with pytest.raises(errors.RegionExists, match=r"mailbox_capacity \(1000, here 7\)"):
            await manager_of(other).start()
        assert workers_of(config) == before
        # A number of workers that is not said is that of those who live.
        managers = [manager_of(uf.Config(**{**plain, "workers": None})) for _ in range(3)]
        outcomes = await asyncio.gather(*(m.start() for m in managers), return_exceptions=True)
        refused = [each for each in outcomes if each is not None]
        assert len(refused) == 2
        assert all(isinstance(each, errors.RegionExists) for each in refused), refused
        one = managers[outcomes.index(None)]
        assert one.config.workers == 1 and workers_of(config) == before
        await one.detach()
        assert workers_of(config) == before
        with pytest.raises(errors.InvalidArgument, match="persist is False"):
            await uf.UltraFastAgentManager(uf.Config(workers=0)).detach()
        async with manager_of(config) as m:
            assert m.adopted and workers_of(config) == before
            assert await m.ping_agents(timeout_s=60) >= AGENTS

    asyncio.run(main())


def test_a_worker_that_hangs_is_not_adopted_but_replaced(tmp_path: Path, made: Made) -> None:
    config = made(workers=1, worker_hang_timeout_s=1.0)
    leave(tmp_path)
    (slot,) = before = workers_of(config)
    os.kill(before[slot], signal.SIGSTOP)

    async def main() -> None:
        async with manager_of(config) as m:
            assert before[slot] not in m.pids()
            assert (await ask(m, 0))["pid"] in m.pids()

    asyncio.run(main())
    assert nothing_is_left(config, list(before.values()))


def test_types_of_the_manager_before_are_known_and_changed_ones_are_new(
    tmp_path: Path, made: Made
) -> None:
    config = made(workers=1)
    leave(tmp_path)

    class Changed(uf.Agent):
        def on_message(self, message: uf.IncomingMessage) -> Any:
            return "changed"

    async def main() -> None:
        (before,) = workers_of(config).values()
        async with uf.UltraFastAgentManager(config) as m:  # it knows nothing of keepers
            assert (await ask(m, 0))["seen"] == []
            os.kill(before, signal.SIGKILL)
            assert (await ask(m, 0))["pid"] != before  # and a fresh worker does all the same
            m.register("keeper", Changed)
            new = await m.spawn_agent("keeper")
            assert await m.request(None, new, "all", timeout_s=60) == "changed"
            assert (await ask(m, 0))["seen"] == []

    asyncio.run(main())


def test_without_a_manager_sigterm_ends_a_worker_in_order(tmp_path: Path, made: Made) -> None:
    config = made()
    leave(tmp_path)
    first, *others = workers_of(config).values()

    async def main() -> None:
        path = region_path(config.region_path, config.name or "")
        async with uf.attach(path) as client:
            await ask(client, 0)
            os.kill(first, signal.SIGTERM)
            await until(lambda: first not in workers_of(config).values())
            ended = list(client.memory_store.keys("ended"))
            assert 0 < len(ended) < AGENTS  # on_stop of its agents ran, and of no others
        assert list(workers_of(config).values()) == others

    asyncio.run(main())
    said = subprocess.run(
        [sys.executable, "-P", "-m", "ultrafast", "status", config.name or ""],
        capture_output=True,
        text=True,
    )
    assert said.returncode == 1 and "none: its workers wait" in said.stdout, said
    assert "1 of 2" in said.stdout
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ultrafast", "stop", config.name or ""],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "it had no manager" in done.stdout, done
    assert nothing_is_left(config, [first, *others])


def test_stop_asks_a_living_manager_and_finds_no_system_twice(tmp_path: Path, made: Made) -> None:
    config = made(workers=1)
    running = leave(tmp_path, kill=False)
    words = [sys.executable, "-P", "-m", "ultrafast", "status", config.name or "", "--json"]
    seen = subprocess.run(words, capture_output=True)
    assert seen.returncode == 0 and json.loads(seen.stdout)["manager"] == running.pid
    words = [sys.executable, "-P", "-m", "ultrafast", "stop", config.name or ""]
    pids = list(workers_of(config).values())
    reaper = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert running.wait() == 143
    said, _ = reaper.communicate()
    assert reaper.returncode == 0 and "its manager has ended it" in said
    assert running.stdout is not None
    running.stdout.close()
    assert nothing_is_left(config, pids)
    assert subprocess.run(words, capture_output=True).returncode == 2


def test_workers_wait_for_a_manager_only_as_long_as_they_are_told(
    tmp_path: Path, made: Made
) -> None:
    config = made(workers=1, persist_timeout_s=0.3)
    leave(tmp_path)
    path = region_path(config.region_path, config.name or "")
    deadline = time.monotonic() + 60
    while workers_of(config):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with Region.attach(path, read_only=True) as region:  # kept for the next start, with its store
        assert not [each for each in region.owners() if region.alive(each.slot)]

    async def main() -> None:
        async with manager_of(config) as m:
            assert m.adopted and len(list(m.memory_store.keys("ended"))) == AGENTS

    asyncio.run(main())


def test_nobody_but_a_manager_is_let_in(tmp_path: Path, made: Made) -> None:
    config = made(workers=1)
    leave(tmp_path)
    path = region_path(config.region_path, config.name or "")
    with Region.attach(path) as region:
        (slot,) = workers_of(config)
        adopt = Adopt(manager=Place(region.slot, 1), sys_path=[])  # but it is a client
        said = msgspec.msgpack.encode(adopt)
        for frame in (b"", b"\xff" * 9, len(said).to_bytes(4, "little") + said):
            with socket.socket(socket.AF_UNIX) as visitor:
                visitor.connect(_address(region, region.owner(slot)))
                visitor.settimeout(60)
                visitor.sendall(frame)
                visitor.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    assert visitor.recv(100) == b""

    async def main() -> None:
        async with manager_of(config) as m:
            assert (await ask(m, 0))["seen"] == []

    asyncio.run(main())


def test_the_stores_snapshots_go_on_with_the_next_manager(tmp_path: Path, made: Made) -> None:
    config = made(workers=1, persist_path=str(tmp_path / "store.lmdb"), snapshot_interval_ms=50)
    leave(tmp_path)

    async def main() -> None:
        path = region_path(config.region_path, config.name or "")
        async with uf.attach(path) as client:
            client.memory_store.set("kept", "while nobody managed", 1)
        async with manager_of(config) as m:
            assert m.memory_store.get("kept", "while nobody managed") == 1
            m.memory_store.set("kept", "by the next", 2)
        assert nothing_is_left(config, [])
        async with manager_of(config) as m:
            assert not m.adopted
            found = {key: m.memory_store.get("kept", key) for key in m.memory_store.keys("kept")}
            assert found == {"while nobody managed": 1, "by the next": 2}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"workers": 1}, "name is None"), ({"workers": 0, "name": "x"}, "workers is 0")],
)
def test_a_system_that_could_not_be_adopted_is_no_config(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(errors.ConfigError, match=said):
        uf.Config(persist=True, **settings)
