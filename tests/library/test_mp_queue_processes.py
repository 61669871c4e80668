"""`ultrafast.Queue` between processes: the cases of `mp_queue_processes.py`, in fresh processes.

They fork. This process has threads, of NumPy's at least, and a fork of such a one is not sound;
those that are started here have none. Each does a third of the cases, well within its time.
"""

import ast
import os
import re
import subprocess
import sys

import pytest

from house.tree import ROOT

CASES = ROOT / "tests" / "library" / "mp_queue_processes.py"
PARTS = 3
TIMEOUT_S = 100  # less than the watchdog's


def names() -> list[str]:
    """The cases, in their order."""
    body = ast.parse(CASES.read_text()).body
    found = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    return [name for name in found if name.startswith("test_")]


@pytest.mark.parametrize("part", range(PARTS))
def test_the_cases_pass_in_a_process_of_one_thread(part: int) -> None:
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # The watchdog of faulthandler is a thread too.
    command += ["-o", "faulthandler_timeout=0", "-c", str(ROOT / "pyproject.toml")]
    chosen = names()[part::PARTS]
    done = subprocess.run(
        [*command, "--rootdir", str(ROOT), *(f"{CASES}::{name}" for name in chosen)],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    said = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, said
    passed = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert passed is not None and int(passed[1]) >= len(chosen) >= 4, said
    assert "DeprecationWarning" not in said, said  # of a fork with threads, from 3.12 on
