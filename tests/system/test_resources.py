"""Whole systems without what they need, forked, interrupted, or ended with everything still open.

Everything is provoked for real, in processes of its own; what is wanted is a named error that says
what to do, nothing left behind, and no harm to those who go on.
"""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from doors.scarce import ANOTHER_USER, HOARD, on_tmpfs, run

pytestmark = pytest.mark.usefixtures("clean_shm")

PREAMBLE = (
    HOARD
    + """
import asyncio, logging
import ultrafast as uf
SMALL = {"max_concurrent_agents": 200, "message_pool_size": 2000, "memory_store_size": 8 << 20,
         "shared_buffer_size": 32 << 20, "queue_capacity": 1024, "max_processes": 8, "workers": 0}

def config(**changed):
    return uf.Config(**{**SMALL, **changed})

class Echo(uf.Agent):
    def on_message(self, message):
        return message.body
"""
)


def program(text: str) -> str:
    return PREAMBLE + textwrap.dedent(text)


def start(text: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", program(text), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


STARTS = """
async def main():
    try:
        async with uf.UltraFastAgentManager(config(region_path=sys.argv[1], name="x")):
            print("started")
    except uf.errors.UltrafastError as error:
        print(type(error).__name__)
        print(error)
asyncio.run(main())
print(sorted(os.listdir(sys.argv[1])) if os.path.isdir(sys.argv[1]) else "none")
"""


def test_a_file_system_of_a_mebibyte(tmp_path: Path) -> None:
    name, text, left = run(program(STARTS), tmp_path, before=on_tmpfs(tmp_path, "size=1m"))
    assert (name, left) == ("RegionNoSpace", "[]")
    assert text.startswith(f"{tmp_path} has 1.0 MiB free, this region needs")
    assert (
        "pass region_path= on a larger file system, or reduce shared_buffer_size (32 MiB)" in text
    )


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    name, text, left = run(program(STARTS), tmp_path / "none")
    assert (name, left) == ("RegionMissing", "none")
    assert "none' is no folder here: make it, or choose another" in text


def test_a_link_where_the_region_was_to_be(tmp_path: Path) -> None:
    (tmp_path / "ultrafast-x").symlink_to(tmp_path / "victim")
    name, text, left = run(program(STARTS), tmp_path)
    assert (name, left) == ("RegionExists", "['ultrafast-x']")
    assert text.startswith(f"a link stands at {tmp_path}/ultrafast-x, where 'x' was to be")
    assert (tmp_path / "ultrafast-x").readlink() == tmp_path / "victim"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file another user's")
def test_another_users_file_where_the_region_was_to_be(tmp_path: Path) -> None:
    (tmp_path / "ultrafast-x").write_text("theirs")
    os.chown(tmp_path / "ultrafast-x", ANOTHER_USER, ANOTHER_USER)
    name, text, left = run(program(STARTS), tmp_path)
    assert (name, left) == ("RegionExists", "['ultrafast-x']")
    assert text.startswith(f"another user's file stands at {tmp_path}/ultrafast-x, where 'x' was")
    assert (tmp_path / "ultrafast-x").read_text() == "theirs"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_users_folder(tmp_path: Path) -> None:
    become = f"""
    uf.UltraFastAgentManager  # imported now, while its files may be read
    os.setresuid({ANOTHER_USER}, {ANOTHER_USER}, {ANOTHER_USER})
    """
    tried = STARTS[: STARTS.index("print(sorted")]
    name, text = run(program(textwrap.dedent(become) + tried), tmp_path)
    assert name == "RegionDenied"
    assert f"region_path '{tmp_path}' can't be cleaned" in text
    assert "choose a folder that this user may write to" in text


@pytest.mark.parametrize("workers", [0, 2])
def test_a_start_without_descriptors(tmp_path: Path, workers: int) -> None:
    """Whatever it comes to lack one for, it is said by name, and nothing stays behind."""
    text = f"""
    # A worker that takes long to start is killed when the start has failed, and that is said.
    logging.getLogger("ultrafast.agents.processes.supervisor").setLevel(logging.ERROR)

    async def main():
        outcomes = set()
        for leave in range(0, 24):
            manager = uf.UltraFastAgentManager(config(region_path=sys.argv[1], workers={workers}))
            held = hoard(leave)
            try:
                await manager.start()
                outcomes.add("started")
            except (errors.SystemCallFailed, errors.WorkerFailed) as error:
                assert "files open: close some" in str(error), str(error)
                outcomes.add(type(error).__name__)
            finally:
                await manager.shutdown()
                for each in held:
                    os.close(each)
            assert os.listdir(sys.argv[1]) == []
            if "started" in outcomes:
                break
        print(*sorted(outcomes))
    asyncio.run(main())
    """
    (outcomes,) = run(program(text), tmp_path)
    wanted = ["SystemCallFailed", "WorkerFailed", "started"]
    assert outcomes.split() == (wanted if workers else ["SystemCallFailed", "started"])


def test_attaching_without_descriptors(tmp_path: Path) -> None:
    text = """
    async def main():
        refused = 0
        async with uf.UltraFastAgentManager(config(region_path=sys.argv[1], name="x")):
            uf.attach  # imported now, while files may be opened
            for leave in range(5):
                held = hoard(leave)
                try:
                    async with uf.attach("x", directory=sys.argv[1]):
                        pass
                except errors.SystemCallFailed as error:
                    assert error.errno == errno.EMFILE and "files open: close some" in str(error)
                    refused += 1
                finally:
                    for each in held:
                        os.close(each)
        print(refused > 1)
    asyncio.run(main())
    print(os.listdir(sys.argv[1]))
    """
    assert run(program(text), tmp_path) == ["True", "[]"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_forked_child_has_no_part_in_its_parents_system(tmp_path: Path, workers: int) -> None:
    """Its calls raise; leaving the `async with` in it ends nothing of its parent's."""
    text = f"""
    import warnings
    # From 3.12 on Python warns of a fork beside threads, whose end it may just have missed.
    warnings.simplefilter("ignore", DeprecationWarning)

    async def main():
        parent = os.getpid()
        async with uf.UltraFastAgentManager(
            config(region_path=sys.argv[1], name="x", workers={workers})
        ) as manager:
            manager.register("echo", Echo)
            echo = await manager.spawn_agent("echo")
            async with uf.attach("x", directory=sys.argv[1]) as client:
                child = os.fork()
                if child == 0:
                    for call in (
                        lambda: manager.memory_store.get("a", "b"),
                        lambda: manager.memory_store.set("a", "b", 1),
                        lambda: manager.get_performance_metrics(),
                        lambda: manager.statistics(),
                        lambda: client.memory_store.get("a", "b"),
                        lambda: manager.bus.send_nowait(None, echo, 1),
                    ):
                        try:
                            call()
                            print("it answered")
                        except errors.ForkedRegion as error:
                            print("attach anew" in str(error))
                    for call in (
                        lambda: manager.spawn_agent("echo"),
                        lambda: client.request(None, echo, 1, timeout_s=1.0),
                    ):
                        try:
                            await call()
                            print("it answered")
                        except errors.ForkedRegion as error:
                            print("attach anew" in str(error))
                    client.close()
                    await manager.shutdown()
                    print("child ends", flush=True)
                    os._exit(0)
                _, status = os.waitpid(child, 0)
                print("parent goes on", status)
                print(await client.request(None, echo, "hi", timeout_s=10.0))
            print(sorted(os.listdir(sys.argv[1]))[0])
    asyncio.run(main())
    print(os.listdir(sys.argv[1]))
    """
    lines = run(program(text), tmp_path)
    assert lines == [*["True"] * 8, "child ends", "parent goes on 0", "hi", "ultrafast-x", "[]"]


def test_closing_twice_is_nothing(tmp_path: Path) -> None:
    text = """
    async def main():
        manager = uf.UltraFastAgentManager(config(region_path=sys.argv[1], name="x"))
        await manager.shutdown()
        await manager.start()
        client = uf.attach("x", directory=sys.argv[1])
        client.close()
        await client.__aenter__()
        subscription = client.subscribe("a.b", print)
        subscription.close()
        subscription.close()
        client.close()
        client.close()
        await manager.events.close()
        await manager.events.close()
        await manager.shutdown()
        await manager.shutdown()
        for call in (
            lambda: manager.memory_store.get("a", "b"),
            lambda: client.memory_store.get("a", "b"),
        ):
            try:
                call()
            except errors.RegionClosed as error:
                print("closed by this process" in str(error))
    asyncio.run(main())
    print(os.listdir(sys.argv[1]))
    """
    assert run(program(text), tmp_path) == ["True", "True", "[]"]


def test_a_shutdown_with_live_views_removes_the_region_all_the_same() -> None:
    text = """
    from ultrafast.core._receiver import Receiver
    kept = []
    async def main():
        logging.disable()  # it says that views live, and that is no complaint here
        async with uf.UltraFastAgentManager(config()) as manager:
            region = manager._region
            queues = Queues(region)
            queues.send(queues.open("a queue left open"), 0, b"still seen")
            (message,) = Receiver(queues, queues.find("a queue left open")).take()
            kept.append(message.payload)
            path = manager.region_path
        print(bytes(kept[0]), os.path.exists(path))
    asyncio.run(main())
    """
    assert run(program(text)) == ["b'still seen' False"]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_exit_in_the_middle_leaves_nothing_behind(workers: int) -> None:
    """sys.exit in a task, with agents, a subscription, a client and requests under way."""
    text = f"""
    async def main():
        async with uf.UltraFastAgentManager(config(workers={workers})) as manager:
            manager.register("echo", Echo)
            echoes = await manager.spawn_agents("echo", 5)
            manager.subscribe("a.>", print)
            client = await uf.attach(manager.name).__aenter__()
            client.subscribe("a.>", print)
            asked = [asyncio.ensure_future(client.request(None, id, id)) for id in echoes]
            await asyncio.sleep(0)
            manager.memory_store.set("a", "b", "c" * 10000)
            sys.exit(0)
    asyncio.run(main())
    """
    assert run(program(text)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_a_signal_while_everybody_waits(number: signal.Signals) -> None:
    """Its handler runs; one that returns changes nothing, KeyboardInterrupt ends the system."""
    process = start(
        """
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
        signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
        class Never(uf.Agent):
            async def on_message(self, message):
                await asyncio.sleep(3600)
        async def main():
            async with uf.UltraFastAgentManager(config(shutdown_timeout_s=0.1)) as manager:
                manager.register("never", Never)
                never = await manager.spawn_agent("never")
                print("waiting", flush=True)
                await manager.request(None, never, "?", timeout_s=60.0)
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    if number is signal.SIGUSR1:
        assert process.stdout.readline() == "handled\n"
        process.send_signal(signal.SIGINT)
    out, complaints = process.communicate(timeout=60)
    assert (process.returncode, out, complaints) == (0, "interrupted\n", "")
