"""The Python part of `tools/compare store`: runs end to end, and leaves nothing behind."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from house.tree import ROOT

sys.path.append(str(ROOT / "asv_bench"))  # where `compare` is; nothing of it is installed

from compare.report import Block, block_of
from compare.rounds import Outcome, Turn
from compare.store.ends import End
from compare.store.scenarios import numbered, read_for
from compare.store.targets import TARGETS, judged

WATCHDOG_S = 100
COMMAND = [sys.executable, "-m", "compare", "store", "--quick", "--rounds", "1"]
RIVALS = {"lmdb without sync": "lmdb", "diskcache": "diskcache", "multiprocessing.Manager": "os"}


def test_a_quick_run_beside_those_installed(tmp_path: Path, clean_shm: None) -> None:
    rivals = {each for each, module in RIVALS.items() if importlib.util.find_spec(module)}
    found = tmp_path / "found.json"
    scenarios = ["hot-dict", "miss", "insert", "get-batch", "set-batch", "mixed", "whole"]
    command = [*COMMAND, "--json", str(found), "--only", "dict"]
    command += [word for each in rivals for word in ("--only", each)]
    command += [word for each in scenarios for word in ("--scenario", each)]
    done = subprocess.run(
        command, cwd=ROOT / "asv_bench", capture_output=True, text=True, timeout=WATCHDOG_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    report = json.loads(found.read_bytes())
    assert [block["key"] for block in report["blocks"]] == scenarios
    shared = {"mixed", "whole"}
    for block in report["blocks"]:
        names = {row["name"] for row in block["rows"]}
        assert not block["failed"]
        assert "ultrafast" in names
        assert names >= rivals or (block["key"] == "whole" and names == {"ultrafast"})
        assert ("dict" in names) is (block["key"] not in shared)  # a dict is one process's
        assert all(row["samples"] > 0 for row in block["rows"])
        assert all(value > 0 for row in block["rows"] for value in row["values"].values())
        if block["key"] in shared:
            turns = [turn for row in block["rows"] for turn in row["turns"]]
            assert all(turn["counts"] == {"torn": 0, "missed": 0} for turn in turns)
    assert report["verdicts"] == []  # a quick run is no measurement


def test_what_only_a_kept_store_can_be_asked(tmp_path: Path, clean_shm: None) -> None:
    found = tmp_path / "found.json"
    scenarios = ["adopt", "load", "running"]
    command = [*COMMAND, "--json", str(found)]
    command += [word for each in scenarios for word in ("--scenario", each)]
    done = subprocess.run(
        command, cwd=ROOT / "asv_bench", capture_output=True, text=True, timeout=WATCHDOG_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    blocks = json.loads(found.read_bytes())["blocks"]
    assert [block["key"] for block in blocks] == scenarios
    assert [len(block["rows"]) for block in blocks] == [1, 1, 2]
    assert all(
        value > 0 for each in blocks for row in each["rows"] for value in row["values"].values()
    )


def test_a_reader_tells_torn_values_from_missing_ones() -> None:
    whole, torn = numbered(3), numbered(3)[:32] + numbered(4)[32:]

    class Broken(End):
        def get(self, key: str) -> bytes | None:
            return {0: None, 1: torn}.get(int(key[-3:]), whole)

    reads, _, torn_reads, missed = read_for(Broken(), 2_000, 0, 0.0, 1, False, 2_000)
    assert (reads, torn_reads, missed) == (2_000, 2, 2)


def row_of(name: str, counts: dict[str, int], **values: float) -> tuple[str, list[Turn]]:
    return name, [Turn(values=values, samples=1, others_percent=0.0, counts=counts)]


def test_verdicts_are_of_the_figures_and_say_what_was_not_measured() -> None:
    def block(key: str, *rows: tuple[str, list[Turn]]) -> Block:
        outcome = Outcome(turns=dict(rows), failed={}, made=1)
        return block_of(key, key, "us", outcome, ours=("ultrafast",))

    blocks = [
        block("hot", row_of("ultrafast", {}, p50=0.09), row_of("dict", {}, p50=0.1)),
        block("whole", row_of("ultrafast", {"torn": 1, "missed": 0}, per_s=1.0)),
    ]
    found = {each.title: each for each in judged(blocks, {"lmdb without sync": "no wheel"})}
    assert len(found) == len(TARGETS)
    assert found["get, one key, ns"].met is True
    assert found["get, one key ÷ dict"].met is False
    assert found["get, one key ÷ dict"].found == pytest.approx(0.9)
    assert found["torn values in 100 M reads"].met is False
    assert found["false misses in 100 M reads"].met is True
    assert found["get, one key ÷ LMDB"].reason == "no wheel"
    assert found["get, random keys ÷ dict"].met is None
