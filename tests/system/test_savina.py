"""The Savina benchmarks of docs/examples run, small; each checks its own counts."""

import asyncio
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from house.tree import ROOT, read

FOLDER = ROOT / "docs" / "examples" / "savina"
SIZES = {
    "ping_pong": 200,
    "counting": 2_000,
    "fork_join_create": 100,
    "fork_join_throughput": 30,
    "thread_ring": 250,
    "chameneos": 300,
    "big": 10,
    "concurrent_dictionary": 20,
}


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The examples, importable as they are for a script in their folder and for its workers."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return {name: importlib.import_module(name) for name in ("common", *SIZES)}


def test_all_of_them_run_in_two_workers(modules: dict[str, ModuleType], clean_shm: None) -> None:
    async def run() -> dict[str, str]:
        async with modules["common"].system(400, 2) as manager:
            found = {}
            for name, size in SIZES.items():
                result = await modules[name].measure(manager, size)
                assert result.messages >= size and result.passed_s > 0
                found[name] = result.done
            return found

    found = asyncio.run(run())
    assert all(str(f"{size:,}") in found[name] for name, size in SIZES.items())


def test_a_wrong_count_ends_it(modules: dict[str, ModuleType]) -> None:
    modules["common"].check("pongs", 3, 3)
    with pytest.raises(RuntimeError, match="pongs: 2, and 3 was due"):
        modules["common"].check("pongs", 2, 3)


def test_one_runs_as_a_script(tmp_path: Path, clean_shm: None) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "ping_pong.py"), "--size", "50", "--workers", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Ping Pong: 50 pings and as many pongs; ")


def test_the_page_names_them_all() -> None:
    scripts = {path.stem for path in FOLDER.glob("*.py")} - {"common"}
    assert scripts == set(SIZES)
    page = read("docs/savina.md")
    assert not [name for name in scripts if f"savina/{name}.py" not in page]
