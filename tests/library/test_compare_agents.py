"""The Python part of `tools/compare agents`: runs end to end, counts exactly, leaves nothing."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from house.tree import ROOT

sys.path.append(str(ROOT / "asv_bench"))  # where `compare` is; nothing of it is installed

from compare.agents.scenarios import SCENARIOS, Pace, Scenario, take_turn
from compare.agents.stage import Contestant, Crowd, Population, Stage, chatters_of
from compare.figures import EmptySample
from compare.teams import TeamFailed

FOLDER = ROOT / "asv_bench"
WATCHDOG_S = 100
COMMAND = [sys.executable, "-m", "compare", "agents", "--quick", "--rounds", "1"]
PACE = Pace(turn_s=0.05, agents_max=10, limit_s=30.0)
OURS = {"ultrafast", "uf manager", "uf one loop"}


def compare(tmp_path: Path, rivals: list[str], scenarios: list[str], **more: str) -> Any:
    found = tmp_path / "found.json"
    command = [*COMMAND, "--json", str(found)]
    command += [word for each in rivals for word in ("--only", each)]
    command += [word for each in scenarios for word in ("--scenario", each)]
    done = subprocess.run(
        command,
        cwd=FOLDER,
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        timeout=WATCHDOG_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    report = json.loads(found.read_bytes())
    assert [block["key"] for block in report["blocks"]] == scenarios
    for block in report["blocks"]:
        assert not block["failed"]
        for row in block["rows"]:
            assert row["samples"] > 0 and all(value > 0 for value in row["values"].values())
            assert row["name"] in OURS | set(rivals)
    return report


def test_a_quick_run_beside_tasks(tmp_path: Path, clean_shm: None) -> None:
    report = compare(
        tmp_path,
        ["asyncio tasks", "erlang"],
        ["population", "counting"],
        PATH=str(tmp_path),  # where no escript is
    )
    assert list(report["missing"]) == ["erlang"] and "escript" in report["missing"]["erlang"]
    population, counting = report["blocks"]
    assert {row["name"] for row in population["rows"]} == {*OURS, "asyncio tasks"}
    assert {row["name"] for row in counting["rows"]} == {*OURS, "asyncio tasks"} - {"uf manager"}
    tasks = population["rows"][-1]
    assert tasks["name"] == "asyncio tasks" and set(tasks["ratios"]) == OURS
    assert set(tasks["values"]) == {
        "per_s",
        "answered_per_s",
        "bytes",
        "answered_s",
        "held_bytes",
    }


def _is_there(rival: str) -> bool:
    if rival == "erlang":
        return shutil.which("escript") is not None
    return importlib.util.find_spec(rival.replace("-", "_")) is not None


@pytest.mark.parametrize("rival", ["erlang", "pykka", "autogen-core"])
def test_a_quick_run_beside(rival: str, tmp_path: Path, clean_shm: None) -> None:
    if not _is_there(rival):
        pytest.skip(f"{rival} is not installed; tools/compare says how to get it")
    report = compare(tmp_path, [rival], ["crowd"])
    assert all(rival in [row["name"] for row in block["rows"]] for block in report["blocks"])


# --- a figure for agents that are not all there, or without a sample, is refused ----------------


class Idle(Stage):
    """Measured nothing."""

    def spawn(self, agents: int) -> list[int]:
        return []

    def population(self, agents: int) -> Population:
        return Population(
            alive=agents - 1, returned_ns=1, answered_ns=2, before_bytes=0, held_bytes=3
        )

    def crowd(self, agents: int, turn_s: float) -> Crowd:
        return Crowd(alive=agents, idle_ns=[1], chatter_ns=[1], chats=0)

    def trips(self, turn_s: float, across: bool, busy: bool) -> list[int]:
        return []


class Nobody(Contestant):
    name = "nobody"
    how = "does nothing"
    does = frozenset({"spawn"})

    @classmethod
    def missing(cls) -> str | None:
        return None

    @classmethod
    def version(cls) -> str:
        return "nobody 0"

    @staticmethod
    def open(agents: int) -> Stage:
        return Idle()


@pytest.mark.parametrize("kind", ["spawn", "population", "crowd", "trips"])
def test_empty_samples_are_failures(kind: str) -> None:
    with pytest.raises(EmptySample):
        take_turn(Nobody, Scenario(key="k", title="t", kind=kind, agents=10), PACE)


def test_what_a_contestant_cannot_do_is_its_failure() -> None:
    with pytest.raises(TeamFailed, match="nobody: NotImplementedError"):
        take_turn(Nobody, Scenario(key="k", title="t", kind="counting"), PACE)


def test_one_in_a_hundred_chatters_in_pairs() -> None:
    assert [chatters_of(n) for n in (10, 1_000, 10_000)] == [2, 10, 100]
    assert len({each.key for each in SCENARIOS}) == len(SCENARIOS)
