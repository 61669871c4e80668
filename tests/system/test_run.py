"""`ultrafast run` as its users run it: a process of its own, real workers, the loopback server."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ultrafast.testing import Fault, LoopbackServer

pytestmark = [pytest.mark.usefixtures("clean_shm"), pytest.mark.timeout(240)]

PATIENCE_S = 120.0
KEY = "test-key-that-is-nobody's"


def environment(server: LoopbackServer | None = None) -> dict[str, str]:
    """Of a child: with a key and the API at `server`, or without a key."""
    found = {k: v for k, v in os.environ.items() if not k.startswith("ANTHROPIC_")}
    if server is not None:
        found |= {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": server.base_url}
    return found


def command(tasks: Path, out: Path, *words: str, workers: int = 1) -> list[str]:
    # One worker where nothing hangs on their number: each loads the model's SDK, which takes long.
    program = [sys.executable, "-P", "-m", "ultrafast", "run", str(tasks), "--out", str(out)]
    return [*program, "--workers", str(workers), *words]


def run(
    tasks: Path,
    out: Path,
    *words: str,
    server: LoopbackServer | None = None,
    workers: int = 1,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(tasks, out, *words, workers=workers),
        env=environment(server),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def write(path: Path, *tasks: dict[str, Any] | str) -> Path:
    lines = [task if isinstance(task, str) else json.dumps(task) for task in tasks]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def task(task_id: str, *after: str, objective: str = "", **fields: Any) -> dict[str, Any]:
    objective = objective or f"the objective of {task_id}"
    return {"id": task_id, "type": "coder", "objective": objective, "after": after, **fields}


def results(out: Path) -> dict[str, dict[str, Any]]:
    path = out / "results.jsonl"
    if not path.exists():
        return {}
    lines = path.read_bytes().split(b"\n")[:-1]
    return {record["task_id"]: record for record in map(json.loads, lines)}


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "summary.json").read_bytes())
    return found


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer() as found:
        yield found


def wait_until_only_one_is_under_way(
    out: Path, done: set[str], process: subprocess.Popen[Any], server: LoopbackServer
) -> None:
    """Until these results are on disk and another task's request has met the scripted fault."""
    until = time.monotonic() + PATIENCE_S
    while not (done <= set(results(out)) and server.statistics().faults_waiting == 0):
        assert process.poll() is None, "it ended before it had the results"
        assert time.monotonic() < until, f"only {set(results(out))}"
        time.sleep(0.02)


def test_results_malformed_lines_and_failures_are_told_apart(tmp_path: Path) -> None:
    out = tmp_path / "out"
    tasks = write(
        tmp_path / "tasks.jsonl",
        task("plan", type="analyst"),
        "{this is not JSON",
        task("code", "plan"),
        task("lost", constraints={"max_tokens": 0}),
        task("after-lost", "lost"),
        task("fails", constraints={"model": "loopback-status-400", "max_retries": 0}),
        task("after-fails", "fails"),
        task("after-after", "after-fails", "plan"),
        task("wrong-type", type="plumber"),
        task("review", "code", "plan", type="reviewer"),
    )
    done = run(tasks, out)
    assert done.returncode == 1, done.stderr
    first_lines = done.stdout.splitlines()[:8]
    assert any("loopback" in line and "ANTHROPIC_API_KEY" in line for line in first_lines)
    assert "\x1b[" not in done.stdout, "no bars and colours where there is no terminal"

    found = results(out)
    assert {each for each, record in found.items() if record["status"] == "ok"} == {
        "plan",
        "code",
        "review",
    }
    assert found["fails"]["error_type"] == "TaskInvalid"
    assert all(record["via"] == "loopback" for record in found.values() if record["error"] is None)
    assert all(record["source"] == "loopback" for record in found.values())

    told = summary(out)
    assert told["source"] == "loopback"
    assert told["endpoint"].startswith("http://127.0.0.1:")
    assert [(fault["line"], fault["id"]) for fault in told["malformed_lines"]] == [
        (2, None),
        (4, "lost"),
        (9, "wrong-type"),
    ]
    for fault in told["malformed_lines"]:
        assert f"line {fault['line']}" in done.stdout
    assert {each["id"] for each in told["skipped_tasks"]} == {
        "after-lost",
        "after-fails",
        "after-after",
    }
    assert "'lost'" in next(e["reason"] for e in told["skipped_tasks"] if e["id"] == "after-lost")
    counts = {name: told[name] for name in ("lines", "ok", "failed", "skipped", "malformed")}
    assert counts == {"lines": 10, "ok": 3, "failed": 1, "skipped": 3, "malformed": 3}
    assert told["result_messages"] in (3, 4)  # one more where "plan" was done before "fails" was
    assert told["agents_alive"] == told["agents_asked"] >= 3


def test_the_api_is_asked_where_there_is_a_key_and_results_reach_those_who_come_after(
    tmp_path: Path, server: LoopbackServer
) -> None:
    out = tmp_path / "out"
    tasks = write(
        tmp_path / "tasks.jsonl",
        task("one", objective="first words"),
        task("two", type="tester", objective="second words"),
        task("three", "one", "two", type="reviewer", objective="third words"),
    )
    done = run(tasks, out, "--agents", "40", server=server, workers=2)
    assert done.returncode == 0, done.stderr + done.stdout
    assert summary(out)["source"] == "api"
    assert summary(out)["endpoint"] == server.base_url
    assert summary(out)["agents_alive"] == 40
    assert "40 of 40 agents" in done.stdout

    asked = {
        word: request
        for request in server.requests()
        for word in ("first", "second", "third")
        if f"\n{word} words" in f"\n{request.text}"
    }
    assert set(asked) == {"first", "second", "third"}
    found = results(out)
    for earlier in ("one", "two"):
        assert f'<result task="{earlier}">\n{found[earlier]["text"]}' in asked["third"].text
    assert "reviewer" in asked["third"].system
    everything = done.stdout + done.stderr + (out / "summary.json").read_text()
    assert KEY not in everything + (out / "results.jsonl").read_text()

    again = run(tasks, out, server=server)
    assert again.returncode == 0
    assert "3 tasks are done already" in again.stdout
    assert server.statistics().requests == 3
    assert summary(out)["resumed"] == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_keeps_what_is_done_and_the_next_run_goes_on(
    tmp_path: Path, server: LoopbackServer, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    tasks = write(
        tmp_path / "tasks.jsonl",
        task("one"),
        task("two", "one"),
        task("endless", "two", objective="take your time"),
        task("last", "endless"),
    )
    server.script(Fault(kind="slow", delay_s=100.0, contains="take your time"))
    process = subprocess.Popen(
        command(tasks, out, workers=2),
        env=environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        wait_until_only_one_is_under_way(out, {"one", "two"}, process, server)
        # As a terminal does it: the whole group gets the signal, workers included.
        os.killpg(process.pid, number)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert number.name in stderr
    assert "Traceback" not in stderr
    assert "goes on from here" in stdout
    assert set(results(out)) == {"one", "two"}
    assert summary(out)["interrupted"]
    assert summary(out)["not_done_tasks"] == ["endless", "last"]

    done = run(tasks, out, server=server)
    assert done.returncode == 0, done.stderr
    found = results(out)
    assert set(found) == {"one", "two", "endless", "last"}
    assert summary(out)["resumed"] == 2
    texts = [request.text for request in server.requests()]
    asked = [text for text in texts if text.endswith("take your time")]
    assert len(asked) == 2
    assert f'<result task="two">\n{found["two"]["text"]}' in asked[1], "results outlive their run"


def test_killed_outright_it_loses_no_result(tmp_path: Path, server: LoopbackServer) -> None:
    out = tmp_path / "out"
    tasks = write(
        tmp_path / "tasks.jsonl",
        *(task(f"t{i}") for i in range(8)),
        task("endless", objective="take your time"),
    )
    server.script(Fault(kind="slow", delay_s=100.0, contains="take your time"))
    process = subprocess.Popen(
        command(tasks, out, workers=2),
        env=environment(server),
        stdout=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        wait_until_only_one_is_under_way(out, {f"t{i}" for i in range(8)}, process, server)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    path = out / "results.jsonl"
    with path.open("ab") as file:
        file.write(b'{"task_id": "endless", "status": "o')  # the death came in the middle
    done = run(tasks, out, server=server)
    assert done.returncode == 0, done.stderr
    assert "unfinished last line" in done.stdout
    assert "8 tasks are done already" in done.stdout
    assert set(results(out)) == {*(f"t{i}" for i in range(8)), "endless"}


def test_a_worker_s_death_costs_a_job_nothing(tmp_path: Path, server: LoopbackServer) -> None:
    out = tmp_path / "out"
    tasks = write(
        tmp_path / "tasks.jsonl",
        task("one", objective="first words"),
        task("two", "one", objective="take your time"),
        task("three", "two", "one"),
    )
    server.script(Fault(kind="slow", delay_s=100.0, contains="take your time"))
    process = subprocess.Popen(
        command(tasks, out),
        env=environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until_only_one_is_under_way(out, {"one"}, process, server)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) in (1, 2), "the one worker, and perhaps a spare started after it"
        os.kill(int(children[0]), signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 0, stderr + stdout
    assert "died" in stderr
    found = results(out)
    assert {each: record["status"] for each, record in found.items()} == {
        "one": "ok",
        "two": "ok",
        "three": "ok",
    }
    # The agent that was given the first result lost it with its worker, and found it in the store.
    texts = [request.text for request in server.requests()]
    asked = [text for text in texts if text.endswith("take your time")]
    assert len(asked) == 2
    assert f'<result task="one">\n{found["one"]["text"]}' in asked[1]


def test_a_changed_tasks_file_is_refused_and_names_what_changed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    tasks = write(tmp_path / "tasks.jsonl", task("one"), task("two", "one"), task("three"))
    assert run(tasks, out).returncode == 0
    before = (out / "results.jsonl").read_bytes()
    write(tasks, task("one", objective="something else"), task("two", "one"), task("four"))
    done = run(tasks, out)
    assert done.returncode == 2
    assert "changed: 'one'" in done.stderr
    assert "no longer there: 'three'" in done.stderr
    assert (out / "results.jsonl").read_bytes() == before


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    tasks = write(tmp_path / "tasks.jsonl", task("one"))
    with (out / "results.jsonl").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = run(tasks, out)
    assert done.returncode == 2
    assert "another run" in done.stderr


def test_a_terminal_sees_bars(tmp_path: Path) -> None:
    tasks = write(tmp_path / "tasks.jsonl", task("one"), task("two", "one", type="tester"))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(tasks, tmp_path / "out"),
        env={**environment(), "TERM": "xterm-256color", "COLUMNS": "100"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 65536):
            seen += piece
    except OSError:
        pass  # how the end of a terminal is told
    finally:
        os.close(ours)
        process.wait(PATIENCE_S)
    assert process.returncode == 0, seen.decode()
    assert "━".encode() in seen
    assert b"1/1" in seen


@pytest.mark.timeout(300)
def test_a_check_measures_the_job_s_own_system(tmp_path: Path) -> None:
    out = tmp_path / "out"
    tasks = write(tmp_path / "tasks.jsonl", task("one"), task("two", "one", type="tester"))
    done = run(tasks, out, "--agents", "300", "--check", workers=2)
    report = json.loads((out / "check.json").read_bytes())
    # Whether a target is met depends on the machine, and is no business of a test.
    assert done.returncode == (0 if report["passed"] else 1), done.stderr + done.stdout
    assert report["problems"] == []
    figures = {(each["name"], each["phase"]): each for each in report["figures"]}
    assert figures["communication", "idle"]["samples"] == 10_000
    assert figures["communication", "busy"]["samples"] == 5_000
    assert (
        figures["warm spawn", "idle"]["samples"] + figures["cold spawn", "idle"]["samples"] == 400
    )
    quantities = {each["name"]: each for each in report["quantities"]}
    assert quantities["live agents"]["value"] > 700
    assert quantities["task throughput"]["samples"] == 2
    counts = report["accounting"]
    assert counts["sent"] == counts["delivered"] + counts["refused"] + counts["dead_lettered"]
    for words in ("warm spawn p95", "communication median p95", "memory", "messages/s", "samples"):
        assert words in done.stdout
