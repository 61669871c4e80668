"""`ultrafast validate` on real systems: what it measured, counted and decided. Asserts no time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.usefixtures("clean_shm"), pytest.mark.timeout(200)]

PATIENCE_S = 150.0


def command(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "ultrafast", "validate", *words]


def validate(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_baseline_measures_every_figure_on_live_agents(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    done = validate(
        *("--scenario", "baseline-performance", "--agents", "60", "--rate", "500"),
        *("--duration", "2", "--workers", "2", "--report", str(path)),
    )
    report: dict[str, Any] = json.loads(path.read_bytes())
    # Whether a target is met depends on the machine, and is no business of a test.
    assert done.returncode == (0 if report["passed"] else 1), done.stderr + done.stdout
    assert report["problems"] == []
    assert report["scenario"] == "baseline-performance"

    figures = {(each["name"], each["phase"]): each for each in report["figures"]}
    assert figures["communication", "idle"]["samples"] == 1000
    assert figures["communication", "busy"]["samples"] == 500
    spawned = [figures[name, "idle"]["samples"] for name in ("warm spawn", "cold spawn")]
    assert sum(spawned) == 120
    assert figures["warm spawn to answer", "idle"]["samples"] == 60
    assert figures["cold spawn to answer", "idle"]["samples"] == 60
    for figure in figures.values():
        assert 0 < figure["p50_ms"] <= figure["p95_ms"] <= figure["p99_ms"] <= figure["max_ms"]
    for name in ("warm spawn", "cold spawn"):
        answered = figures[f"{name} to answer", "idle"]
        assert answered["p50_ms"] > figures[name, "idle"]["p50_ms"]

    counts = report["accounting"]
    # Rounds that others disturbed are made again.
    assert counts["paced_accepted"] == counts["paced_received"] >= 1500
    assert counts["sent"] == counts["delivered"] + counts["refused"] + counts["dead_lettered"]
    quantities = {each["name"]: each for each in report["quantities"]}
    assert quantities["rounds"]["value"] >= 1
    assert quantities["live agents"]["value"] == quantities["live agents"]["samples"] > 180
    assert quantities["memory"]["value"] * (1 << 20) > report["settings"]["region_bytes"]
    assert quantities["message throughput"]["samples"] > 0
    assert report["machine"]["cpus"] >= 1 and report["machine"]["versions"]["ultrafast"]
    targets = {(check["name"], check["origin"]): check["target"] for check in report["checks"]}
    assert targets["warm spawn p95, idle", "goal"] == 1.0
    assert targets["warm spawn p95, idle", "config"] == 100.0
    assert targets["communication median p95, idle", "goal"] == 1.0
    assert targets["communication median p95, busy", "config"] == 5.0


def test_a_target_that_can_not_be_met_is_missed(tmp_path: Path) -> None:
    config = tmp_path / "strict.toml"
    config.write_text("max_spawn_time_ms = 0.001\n")
    path = tmp_path / "report.json"
    words = ("--agents", "5", "--duration", "0.5", "--config", str(config))
    done = validate(*words, "--report", str(path))
    assert done.returncode == 1, done.stderr
    report = json.loads(path.read_bytes())
    missed = {check["name"] for check in report["checks"] if not check["passed"]}
    assert "warm spawn p95, idle" in missed
    assert "MISSED" in done.stdout


def test_what_can_not_be_measured_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    words = ("--agents", "5", "--duration", "0.5", "--workers", "1")
    done = validate(*words, "--report", str(path))
    assert done.returncode == 1, done.stderr
    report = json.loads(path.read_bytes())
    empty = [check for check in report["checks"] if check["name"] == "communication p95, idle"]
    assert empty and all(check["samples"] == 0 and not check["passed"] for check in empty)
    assert any("2 workers" in problem for problem in report["problems"])
    assert "NO SAMPLES" in done.stdout


def test_told_to_stop_it_ends_its_system(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("--agents", "5", "--duration", "1000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        until = time.monotonic() + PATIENCE_S
        while not any(f"ultrafast-{process.pid}-" in name for name in os.listdir("/dev/shm")):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
