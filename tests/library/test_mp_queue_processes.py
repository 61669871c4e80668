"""`ultrafast.Queue` between processes: the cases of `mp_queue_processes.py`, in a fresh process.

They fork. This process has threads, of NumPy's at least, and a fork of such a one is not sound; the
one that is started here has none.
"""

import os
import re
import subprocess
import sys

import pytest

from house.tree import ROOT

CASES_MIN = 20
TIMEOUT_S = 400


@pytest.mark.timeout(TIMEOUT_S + 20)
def test_the_cases_pass_in_a_process_of_one_thread() -> None:
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # The watchdog of faulthandler is a thread too.
    command += ["-o", "faulthandler_timeout=0", "-c", str(ROOT / "pyproject.toml")]
    command += ["--rootdir", str(ROOT)]
    done = subprocess.run(
        [*command, str(ROOT / "tests" / "library" / "mp_queue_processes.py")],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    said = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, said
    passed = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert passed is not None and int(passed[1]) >= CASES_MIN, said
    assert "DeprecationWarning" not in said, said  # of a fork with threads, from 3.12 on
