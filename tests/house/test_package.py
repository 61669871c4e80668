"""What is installed is what should be: stubs and doors, no sources; and it is light to import."""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import files as installed_files
from importlib.metadata import metadata, version

import ultrafast

HEAVY = ["anthropic", "rich", "starlette", "typer", "uvicorn"]


def package_violations(names: Iterable[str]) -> Iterator[str]:
    names = set(names)
    for name in names:
        if name.endswith((".pyx", ".pxd", ".c", ".h", ".a", ".o")):
            yield f"{name}: a source, or what building leaves"
        if name.split("/")[0] in {"tests", "csrc", "docs", "tools", "asv_bench"}:
            yield f"{name}: not part of the library"
    if "ultrafast/py.typed" not in names:
        yield "ultrafast/py.typed is missing"
    stubs = {name.removesuffix(".pyi") for name in names if name.endswith(".pyi")}
    doors = {name.split(".")[0] for name in names if name.endswith(".so")}
    for name in sorted(stubs ^ doors):
        yield f"{name}: has only one of stub and door"


def test_installed_files() -> None:
    names = [str(name) for name in installed_files("ultrafast") or ()]
    assert any(name.endswith(".so") for name in names), "no door is installed"
    found = list(package_violations(names))
    assert not found, "\n".join(found)


def test_one_version() -> None:
    assert version("ultrafast") == ultrafast.__version__
    assert metadata("ultrafast")["License-Expression"] == "Apache-2.0"


def test_import_is_light() -> None:
    code = f"import sys, ultrafast; print([m for m in {HEAVY} if m in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert printed.stdout.strip() == "[]", f"import ultrafast also imports {printed.stdout}"
    assert not printed.stderr


def test_package_rule_sees_violations() -> None:
    good = ["ultrafast/py.typed", "ultrafast/core/_a.cpython-311-x.so", "ultrafast/core/_a.pyi"]
    assert not list(package_violations(good))
    assert list(package_violations(good[1:]))
    assert list(package_violations(good[:2]))
    assert list(package_violations([*good, "ultrafast/core/_b.pyi"]))
    assert list(package_violations([*good, "ultrafast/core/_a.pyx"]))
    assert list(package_violations([*good, "tests/conftest.py"]))
