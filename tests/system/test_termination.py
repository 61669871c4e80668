"""What SIGTERM does to a system: an orderly end the first time, an end at once the second."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(120)

CODE = """
    import asyncio, os, signal, sys, time
    import ultrafast as uf

    folder, how = sys.argv[1:]

    class Noting(uf.Agent):
        def on_message(self, message):
            return os.getpid()
        def on_stop(self):
            if how == "twice":
                time.sleep(60)
            with open(folder + "/stopped", "a") as file:
                file.write("stopped\\n")

    told = []

    def own(number, frame):
        told.append(number)
        print("own", flush=True)

    async def main():
        if how == "own":
            signal.signal(signal.SIGTERM, own)
        config = uf.Config(workers=1, spare_workers=0, max_concurrent_agents=50, region_path=folder)
        manager = uf.UltraFastAgentManager(config)
        manager.register("noting", Noting)
        try:
            async with manager:
                agent = await manager.spawn_agent("noting")
                worker = await manager.request(None, agent, None, timeout_s=60)
                if how == "forked" and not (child := os.fork()):
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(60)
                if how == "forked":
                    print("child", os.waitpid(child, 0)[1], flush=True)
                print("up", worker, flush=True)
                if how == "forked":
                    assert await manager.request(None, agent, None, timeout_s=60) == worker
                while how != "forked" and not told:
                    await asyncio.sleep(0.01)
                if how == "own":  # and it goes on, as its handler left it
                    assert await manager.request(None, agent, None, timeout_s=60) == worker
        finally:
            print("after", flush=True)
        assert signal.getsignal(signal.SIGTERM) is (own if how == "own" else signal.SIG_DFL)

    asyncio.run(main())
"""


def started(folder: Path, how: str) -> tuple[subprocess.Popen[str], int, list[str]]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", textwrap.dedent(CODE), str(folder), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    said = []
    while not (line := process.stdout.readline()).startswith("up"):
        assert line, process.stderr and process.stderr.read()
        said.append(line.strip())
    return process, int(line.split()[1]), said


def ends(holds: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("whom", ["manager", "group"])
def test_agents_stop_in_order_and_the_status_says_why(tmp_path: Path, whom: str) -> None:
    process, worker, _ = started(tmp_path, "once")
    (os.kill if whom == "manager" else os.killpg)(process.pid, signal.SIGTERM)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
    assert out == "after\n"  # what is around the system ends in order too
    assert "Traceback" not in error
    assert (tmp_path / "stopped").read_text() == "stopped\n"
    assert os.listdir(tmp_path) == ["stopped"]
    assert not is_alive(worker)


def test_the_second_ends_it_at_once(tmp_path: Path) -> None:
    process, worker, _ = started(tmp_path, "twice")
    os.kill(process.pid, signal.SIGTERM)
    # The first has been handled when the default is back.
    status = Path(f"/proc/{process.pid}/status")
    bit = 1 << (signal.SIGTERM - 1)

    def caught() -> bool:
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("SigCgt:"))
        return bool(int(line.split()[1], 16) & bit)

    ends(caught)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    ends(lambda: is_alive(worker))  # its manager is gone, and it is stuck in on_stop
    assert not (tmp_path / "stopped").exists()


def test_a_programs_own_handler_is_left_alone(tmp_path: Path) -> None:
    process, _, _ = started(tmp_path, "own")
    os.kill(process.pid, signal.SIGTERM)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "own\nafter\n"), error
    assert (tmp_path / "stopped").read_text() == "stopped\n"


def test_a_forked_child_ends_by_it_and_the_system_goes_on(tmp_path: Path) -> None:
    process, _, said = started(tmp_path, "forked")
    out, error = process.communicate(timeout=60)
    assert said == [f"child {int(signal.SIGTERM)}"]
    assert (process.returncode, out) == (0, "after\n"), error
    assert (tmp_path / "stopped").read_text() == "stopped\n"
