"""The Python part of `tools/compare messaging`: runs end to end, and leaves nothing behind."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from house.tree import ROOT
from ultrafast.core.leftovers import remove_region

WATCHDOG_S = 100
COMMAND = [sys.executable, "-m", "compare", "messaging", "--quick"]
FOLDER = ROOT / "asv_bench"
RIVALS = {  # those of one run, and the module that they need
    ("socketpair", "multiprocessing.Pipe", "multiprocessing.Queue"): "multiprocessing",
    ("pyzmq",): "zmq",
    ("faster-fifo",): "faster_fifo",
    ("iceoryx2",): "iceoryx2",
}


@pytest.mark.parametrize("rivals", RIVALS, ids=" ".join)
def test_a_quick_run_beside(rivals: tuple[str, ...], tmp_path: Path, clean_shm: None) -> None:
    if importlib.util.find_spec(RIVALS[rivals]) is None:
        pytest.skip(f"{rivals[0]} is not installed; tools/compare installs it")
    found = tmp_path / "found.json"
    scenarios = ["latency", "round-trip-spin", "throughput-64-batches"]
    command = [*COMMAND, "--json", str(found), "--rounds", "1"]
    command += [word for each in rivals for word in ("--only", each)]
    command += [word for each in scenarios for word in ("--scenario", each)]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=WATCHDOG_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    report = json.loads(found.read_bytes())
    assert [block["key"] for block in report["blocks"]] == scenarios
    for block in report["blocks"]:
        names = [row["name"] for row in block["rows"]]
        assert "ultrafast" in names and not block["failed"]
        if block["key"] != "round-trip-spin":  # only for those who poll
            assert {"ultrafast.Queue", *rivals} <= set(names)
        assert all(row["samples"] > 0 for row in block["rows"])
        for row in block["rows"]:
            assert all(value > 0 for value in row["values"].values())
            if row["name"] in rivals:
                assert set(row["ratios"]["ultrafast"]) == set(row["values"])
    assert all(each in done.stdout for each in rivals) and "ultrafast ÷ it" in done.stdout


def test_an_unknown_rival_is_a_mistake_of_the_caller() -> None:
    done = subprocess.run(
        [*COMMAND, "--only", "carrier pigeons"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=WATCHDOG_S,
    )
    assert done.returncode == 2 and "carrier pigeons" in done.stderr


def _children(pid: int) -> list[int]:
    """Of a process, and theirs."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    found = [int(word) for word in text.split()]
    return found + [each for child in found for each in _children(child)]


def _is_running(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def _regions_of(pid: int) -> list[Path]:
    return list(Path("/dev/shm").glob(f"ultrafast-compare-{pid}-*"))


@contextmanager
def _running() -> Iterator[subprocess.Popen[str]]:
    """A comparison in the middle of its rounds, with its processes at work."""
    with subprocess.Popen(
        [*COMMAND, "--only", "socketpair", "--scenario", "latency", "--rounds", "1000"],
        cwd=FOLDER,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        try:
            until = time.monotonic() + WATCHDOG_S
            # The resource tracker, and two processes for each of three contestants.
            while len(_children(run.pid)) < 7 or not _regions_of(run.pid):
                assert time.monotonic() < until and run.poll() is None, "it did not get going"
                time.sleep(0.02)
            yield run
        finally:
            run.kill()
            for path in _regions_of(run.pid):
                remove_region(path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_run_that_is_ended(number: signal.Signals) -> None:
    with _running() as run:
        children = _children(run.pid)
        if number == signal.SIGINT:
            os.killpg(run.pid, number)  # as the keyboard does
        else:
            run.send_signal(number)
        code = run.wait(WATCHDOG_S)
        assert code == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
        until = time.monotonic() + 10
        while any(map(_is_running, children)) and time.monotonic() < until:
            time.sleep(0.02)
        assert not [each for each in children if _is_running(each)]
        if number != signal.SIGKILL:  # after which the next system to start removes it
            assert not _regions_of(run.pid)
