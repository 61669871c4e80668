"""The Python part of `tools/compare store`: runs end to end, and leaves nothing behind."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from house.tree import ROOT

WATCHDOG_S = 100
COMMAND = [sys.executable, "-m", "compare", "store", "--quick", "--rounds", "1"]
SHARED = {"lmdb without sync": "lmdb", "diskcache": "diskcache", "multiprocessing.Manager": "os"}


@pytest.mark.parametrize("rival", SHARED)
def test_a_quick_run_beside(rival: str, tmp_path: Path, clean_shm: None) -> None:
    if importlib.util.find_spec(SHARED[rival]) is None:
        pytest.skip(f"{rival} is not installed; tools/compare installs it")
    found = tmp_path / "found.json"
    scenarios = ["hot-dict", "miss", "insert", "get-batch", "set-batch", "mixed"]
    command = [*COMMAND, "--json", str(found), "--only", rival, "--only", "dict"]
    command += [word for each in scenarios for word in ("--scenario", each)]
    done = subprocess.run(
        command, cwd=ROOT / "asv_bench", capture_output=True, text=True, timeout=WATCHDOG_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    report = json.loads(found.read_bytes())
    assert [block["key"] for block in report["blocks"]] == scenarios
    for block in report["blocks"]:
        names = {row["name"] for row in block["rows"]}
        assert not block["failed"]
        assert {"ultrafast", "ultrafast namespace", rival} <= names
        assert ("dict" in names) is (block["key"] != "mixed")  # a dict is one process's
        assert all(row["samples"] > 0 for row in block["rows"])
        assert all(value > 0 for row in block["rows"] for value in row["values"].values())
