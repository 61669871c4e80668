"""What every test stands on: the installed package, a watchdog, a clean /dev/shm.

The watchdog itself is set up in pyproject.toml (pytest-timeout, then pytest's faulthandler). Here
are the parts that need code. Tests are run from an empty folder, so that a child started with
`python -c` or `python -m` finds the installed package too, never the checkout, whose doors are not
compiled.
"""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from shm import MARKER, wait_for_leftovers

__all__: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    spec = importlib.util.find_spec("ultrafast")
    if spec is None:
        raise pytest.UsageError("ultrafast is not installed here: run tools/test, or pip install .")
    doors = Path(spec.origin or "").parent / "core"
    if list(doors.glob("*.pyx")) and not list(doors.glob("*.so")):
        raise pytest.UsageError(
            f"{doors.parent} is first on sys.path, and its doors are not compiled: run `pytest`, "
            "not `python -m pytest`, and unset PYTHONPATH"
        )
    os.environ["PYTHONFAULTHANDLER"] = "1"  # a child that crashes says where
    os.environ[MARKER] = str(os.getpid())  # and is known as ours

    hypothesis.settings.register_profile(
        "ci", deadline=None, max_examples=100, stateful_step_count=50, print_blob=True
    )
    hypothesis.settings.register_profile(
        "long", deadline=None, max_examples=5000, stateful_step_count=200, print_blob=True
    )
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session", autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield
    os.chdir(before)


@pytest.fixture
def clean_shm() -> Iterator[None]:
    """Fail the test when it leaves a region or a bell of ours behind in /dev/shm."""
    before = wait_for_leftovers(frozenset(), patience_s=0)
    yield
    left = wait_for_leftovers(before, patience_s=5)
    if left:
        pytest.fail(f"left in /dev/shm: {', '.join(sorted(left))}", pytrace=False)
