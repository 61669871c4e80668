"""`tools/prove`: an instrument that explored nothing, or whose program is missing, has failed."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from house.tree import ROOT, read


@pytest.fixture(scope="module")
def prove() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prove", ROOT / "tools" / "prove.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["prove"] = module
    spec.loader.exec_module(module)
    return module


def one(prove: ModuleType, script: str, **changes: object) -> object:
    given = {
        "name": "x",
        "explores": "nothing much",
        "run": [[sys.executable, "-c", script]],
        "figures": {"deaths": r"^deaths +([\d,]+)$"},
        "shows": "{deaths} deaths",
        "findings": "none",
    }
    return prove.Instrument(**{**given, **changes})


@pytest.fixture(autouse=True)
def outcomes_elsewhere(prove: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prove, "OUTCOMES", tmp_path)


def test_figures_are_summed_over_the_output(prove: ModuleType) -> None:
    outcome = prove.prove(one(prove, "print('deaths   1,000'); print('deaths 234')"))
    assert outcome.problems == []
    assert outcome.shown == "1,234 deaths"


@pytest.mark.parametrize("script", ["print('deaths 0')", "print('nothing of the kind')"])
def test_an_instrument_that_explored_nothing_has_failed(prove: ModuleType, script: str) -> None:
    assert prove.prove(one(prove, script)).problems == ["deaths: none"]


def test_an_exit_status_is_a_failure(prove: ModuleType) -> None:
    (problem,) = prove.prove(one(prove, "print('deaths 1'); raise SystemExit(3)")).problems
    assert problem.endswith("exited with 3")


def test_what_it_needs_and_is_not_there_is_named(prove: ModuleType) -> None:
    outcome = prove.prove(one(prove, "print('deaths 1')", needs=["no-such-program"]))
    assert "no-such-program is not installed" in outcome.problems


def test_a_pattern_that_no_program_matches_is_a_failure(prove: ModuleType) -> None:
    outcome = prove.prove(one(prove, "", run=[["build/nowhere/explore_*"]]))
    assert "a program to run is missing" in outcome.problems


def test_every_instrument_is_a_row_of_the_page(prove: ModuleType) -> None:
    instruments = prove.load()
    names = [each.name for each in instruments]
    assert len(set(names)) == len(names) >= 5
    page = read("docs/reliability.md")
    table = page.partition(prove.BEGIN)[2].partition(prove.END)[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert rows[1:] == names, "write the table anew: tools/prove --table"


def test_a_row_says_what_was_not_run_and_what_failed(prove: ModuleType) -> None:
    instrument = one(prove, "print('deaths 0')")
    assert "**not run**" in prove.table([instrument], {})
    failed = prove.table([instrument], {"x": prove.prove(instrument)})
    assert "**failed**: deaths: none" in failed
