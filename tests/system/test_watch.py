"""Who watches a namespace is told of what any process does to it, and nobody else pays."""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import ultrafast as uf
from system.waiting import until
from ultrafast.bus.directory import WATCH
from ultrafast.bus.subscription import WhenFull
from ultrafast.config import MIB
from ultrafast.errors import InvalidArgument
from ultrafast.store import Change, UltraFastMemoryStore, Watch

pytestmark = [pytest.mark.usefixtures("clean_shm"), pytest.mark.timeout(120)]

WATCHDOG_S = 60.0
CONFIG = uf.Config(workers=0, memory_store_size=8 * MIB, max_concurrent_agents=20)
WRITER = """
import asyncio, random, sys
import ultrafast as uf

async def main():
    chance = random.Random(int(sys.argv[2]))
    async with uf.attach(sys.argv[1]) as client:
        store = client.memory_store
        for number in range(2_000):
            key = f"{chance.choice('ab')}{chance.randrange(40)}"
            ttl_s = chance.choice((None, None, 0.01, 100.0))
            match chance.randrange(5):
                case 0: store.delete("w", key)
                case 1: store.pop("w", key)
                case 2: store.set("others", key, number)
                case _: store.set("w", key, number, ttl_s=ttl_s)
            if number % 50 == 0:
                await asyncio.sleep(0.01)
asyncio.run(main())
"""


@asynccontextmanager
async def system() -> AsyncIterator[tuple[uf.UltraFastAgentManager, uf.Client]]:
    async with uf.UltraFastAgentManager(CONFIG) as manager, uf.attach(manager.name) as client:
        yield manager, client


def kinds(changes: list[Change]) -> list[tuple[str, str]]:
    return [(each.kind, each.key) for each in changes]


def test_sets_deletes_and_expiries_are_told_to_callbacks_and_iterators() -> None:
    async def main() -> None:
        async with system() as (manager, client):
            here, there = manager.memory_store, client.memory_store
            here.set("notes", "before", 1)
            here.set("notes", "short", 1, ttl_s=1e9)
            told: list[Change] = []
            watch = await here.watch("notes", callback=told.append)
            async with watch, await there.watch("notes", prefix="s") as some:
                there.set("notes", "a", {"x": 1})
                await until(lambda: kinds(told) == [("set", "a")])
                value, version = here.get_with_version("notes", "a")
                assert told[0].value() == value == {"x": 1}
                assert told[0].version == version
                there.set("others", "a", 1)
                there.delete("notes", "a")
                await until(lambda: len(told) == 2)
                assert kinds(told)[1:] == [("delete", "a")]
                assert told[1].version == version and told[1].value("none") == "none"
                here.set("notes", "short", 2, ttl_s=0.05)
                await until(lambda: len(told) == 4)
                assert kinds(told)[2:] == [("set", "short"), ("expire", "short")]
                async with asyncio.timeout(WATCHDOG_S):
                    async for change in some:
                        assert change.key == "short"  # and nothing of "a"
                        if change.kind == "expire":
                            break
                here.sweep()  # the place of what expired is emptied: no second end of it
                here.set("notes", "last", 1)
                await until(lambda: len(told) == 5)
                assert kinds(told)[4:] == [("set", "last")]
                assert watch.missed == some.missed == 0

    asyncio.run(main())


def test_a_failing_callback_is_told_of_the_next_and_a_coroutine_is_awaited() -> None:
    async def main() -> None:
        told: list[str] = []

        async def callback(change: Change) -> None:
            await asyncio.sleep(0)
            told.append(change.key)
            if change.key == "bad":
                raise ValueError("mine")

        async with system() as (manager, _):
            store = manager.memory_store
            async with await store.watch("n", callback=callback):
                store.set("n", "bad", 1)
                await until(lambda: told == ["bad"])
                store.set("n", "good", 1)
                await until(lambda: told == ["bad", "good"])

    asyncio.run(main())


def test_watching_one_key_and_what_is_refused() -> None:
    async def main() -> None:
        async with system() as (manager, client):
            store = manager.memory_store
            told: list[Change] = []
            async with await client.memory_store.watch("n", "k", callback=told.append):
                store.set_batch("n", {"k1": 1, "": 2, "k": 3})
                store.set("n", "k", 4)
                await until(lambda: any(each.value() == 4 for each in told))
                assert {each.key for each in told} == {"k"}
            with pytest.raises(InvalidArgument, match="give one"):
                await store.watch("n", "k", prefix="p")
            with pytest.raises(InvalidArgument, match="when_full"):
                wrong: Any = "never"
                await store.watch("n", when_full=wrong)
            alone = UltraFastMemoryStore(client._endpoint.table)
            with pytest.raises(InvalidArgument, match="stands by itself"):
                await alone.watch("n")

    asyncio.run(main())


def test_nobody_looks_when_nobody_watches_also_after_a_watchers_death() -> None:
    killed = (
        "import asyncio, os, signal, sys, ultrafast as uf\n"
        "async def main():\n"
        "    async with uf.attach(sys.argv[1]) as client:\n"
        "        await client.memory_store.watch('n')\n"
        "        print('watching', flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )

    async def main() -> None:
        async with system() as (manager, _):
            wanted = manager.bus.directory.all
            assert not wanted(WATCH)
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", killed, manager.name], stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            line = await asyncio.to_thread(process.stdout.readline)
            assert line == b"watching\n" and len(wanted(WATCH)) == 1
            process.kill()
            process.wait()
            process.stdout.close()
            await until(lambda: not wanted(WATCH))
            watch = await manager.memory_store.watch("n")
            assert len(wanted(WATCH)) == 1
            watch.close()
            watch.close()
            assert not wanted(WATCH)
            assert [each async for each in watch] == []

    asyncio.run(main())


@pytest.mark.parametrize("when_full", ["drop-oldest", "dead-letter"])
def test_a_slow_watcher_loses_the_oldest_and_knows(when_full: WhenFull) -> None:
    async def main() -> None:
        async with system() as (manager, client):
            store = client.memory_store
            watch = await manager.memory_store.watch("n", buffer=2, when_full=when_full)
            for number in range(8):
                store.set("n", "k", number)
                # One publication each: the next is written when a second watcher has it.
                async with await store.watch("n", "k") as other:
                    store.set("n", "k", number)
                    async with asyncio.timeout(WATCHDOG_S):
                        await anext(aiter(other))
            watch.close()
            found = [each async for each in watch]
            assert found[-1].value() == 7
            assert watch.missed > 0
            letters = [each.reason for each in manager.bus.dead_letters()]
            assert ("slow_consumer" in letters) is (when_full == "dead-letter")

    asyncio.run(main())


@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_told_adds_up_to_what_is_there(seed: int) -> None:
    """Each watcher's picture, from its beginning on, ends as what the store holds."""

    async def main() -> None:
        async with system() as (manager, client):
            chance = random.Random(seed)
            pictures: list[tuple[str, dict[str, int], Watch]] = []

            async def begin(prefix: str) -> None:
                told: dict[str, int] = {}

                def note(change: Change) -> None:
                    assert change.namespace == "w" and change.key.startswith(prefix)
                    if change.kind == "set":
                        assert told.get(change.key) != change.version, "told twice"
                        told[change.key] = change.version
                    else:
                        assert told.pop(change.key) == change.version, "told of nothing's end"

                store = chance.choice((manager, client)).memory_store
                watch = await store.watch(
                    "w", prefix=prefix, initial=True, callback=note, buffer=10_000
                )
                pictures.append((prefix, told, watch))

            command = [sys.executable, "-P", "-c", WRITER, manager.name]
            writers = [subprocess.Popen([*command, str(seed + each)]) for each in range(2)]
            for prefix in ("", "a", "b", "a1"):
                await begin(prefix)
                await asyncio.sleep(0.05)
            for writer in writers:
                assert await asyncio.to_thread(writer.wait, WATCHDOG_S) == 0
            time.sleep(0.02)  # the last short-lived entries' end
            store = manager.memory_store
            there = {key: store.get_with_version("w", key)[1] for key in store.keys("w")}

            def agrees() -> bool:
                return all(
                    told == {key: there[key] for key in there if key.startswith(prefix)}
                    for prefix, told, _ in pictures
                )

            await until(agrees)
            assert all(watch.missed == 0 for _, _, watch in pictures)

    asyncio.run(main())


def test_a_watcher_with_a_queue_of_its_own_holds_the_teller_up_and_loses_nothing() -> None:
    async def main() -> None:
        async with system() as (manager, client):
            store = client.memory_store
            async with await manager.memory_store.watch("n", buffer=2, when_full="block") as watch:
                changes = aiter(watch)
                for number in range(5):
                    store.set("n", f"k{number}", number)
                    async with asyncio.timeout(WATCHDOG_S):
                        assert (await anext(changes)).value() == number
                assert watch.missed == 0

    asyncio.run(main())
