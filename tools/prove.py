"""Runs the long forms of the instruments and writes the table of docs/reliability.md.

Stands on tests/instruments.toml, which says for each instrument what it is, how it is run, and
which numbers of its output tell how much it explored. An instrument whose numbers are missing or
zero has failed, whatever its exit status. Outcomes are kept in build/prove, so that the table can
be made up of several runs; each row says of which commit it speaks.

It runs what the tree builds: `tools/prove` sets that up.
"""

from __future__ import annotations

import argparse
import datetime
import glob
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
INSTRUMENTS = ROOT / "tests" / "instruments.toml"
OUTCOMES = ROOT / "build" / "prove"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN = "<!-- tools/prove writes from here -->"
END = "<!-- to here -->"


class Instrument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row.

    Parameters
    ----------
    name : str
        As `tools/prove NAME` takes it.
    explores : str
        What it looks at, for the table.
    needs : list of str
        Programs that have to be on PATH.
    presets : list of str
        CMake presets that are built first.
    run : list of list of str
        Commands; a pattern (`*`) in the first word stands for every program that matches.
    figures : dict of str to str
        Name -> regular expression over the output: its first group is summed up over all matches,
        or its matches are counted when it has none.
    shows : str
        The figures as a sentence: names in braces.
    seeded : str
        Tests, as `ctest -R` takes them, of which each puts a fault in and expects it to be found.
    seeded_preset : str
        The build that they are of.
    faults : str
        The figures about faults, as a sentence, of an instrument that counts them itself.
    findings : str
        What it has found in the project, and what became of it.
    """

    name: str
    explores: str
    run: list[list[str]]
    figures: dict[str, str]
    shows: str
    findings: str
    needs: list[str] = []
    presets: list[str] = []
    seeded: str = ""
    seeded_preset: str = "plain"
    faults: str = ""


class Instruments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    instrument: list[Instrument]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run."""

    name: str
    commit: str
    date: str
    seconds: float
    shown: str
    faults: str
    problems: list[str]


def load() -> list[Instrument]:
    """The instruments, in the order of the table."""
    return msgspec.toml.decode(INSTRUMENTS.read_bytes(), type=Instruments).instrument


def count(figures: dict[str, str], output: str) -> dict[str, float]:
    """The figures that an output tells."""
    found: dict[str, float] = {}
    for name, pattern in figures.items():
        matches = list(re.finditer(pattern, output, re.MULTILINE))
        if matches and matches[0].re.groups:
            words = [match[1].replace(",", "") for match in matches]
            found[name] = sum(float(word) if "." in word else int(word) for word in words)
        else:
            found[name] = len(matches)
    return found


def expand(command: list[str]) -> list[list[str]]:
    """The commands that a pattern stands for."""
    if "*" not in command[0]:
        return [command]
    programs = sorted(one for one in glob.glob(command[0], root_dir=ROOT) if _is_program(one))
    return [[str(ROOT / program), *command[1:]] for program in programs]


def _is_program(path: str) -> bool:
    whole = ROOT / path
    return whole.is_file() and whole.stat().st_mode & 0o111 != 0


def call(command: list[str], log: Path) -> tuple[int, str]:
    """Run a command in the root, with its output into a file: its status, and the output."""
    with log.open("ab") as file:
        file.write(f"$ {' '.join(command)}\n".encode())
        file.flush()
        begin = file.tell()
        status = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        ).returncode
    return status, log.read_bytes()[begin:].decode(errors="replace")


def prove(one: Instrument) -> Outcome:
    """Run one instrument and what shows that it finds faults."""
    OUTCOMES.mkdir(parents=True, exist_ok=True)
    log = OUTCOMES / f"{one.name}.log"
    log.write_bytes(b"")
    started = time.monotonic()
    problems = [f"{program} is not installed" for program in one.needs if not shutil.which(program)]
    output = ""
    if not problems:
        builds = [["cmake", "--preset", preset] for preset in one.presets]
        builds += [["cmake", "--build", "--preset", preset] for preset in one.presets]
        commands = [each for command in one.run for each in expand(command)]
        if len(commands) < len(one.run):
            problems.append("a program to run is missing")
        for command in [*builds, *commands]:
            status, text = call(command, log)
            output += text if command not in builds else ""
            if status:
                problems.append(f"`{' '.join(command)}` exited with {status}")
    figures = count(one.figures, output)
    problems += [f"{name}: none" for name, value in figures.items() if not value]
    faults = one.faults.format(**{name: f"{value:,}" for name, value in figures.items()})
    if one.seeded and not problems:
        status, text = call(["ctest", "--preset", one.seeded_preset, "-R", one.seeded], log)
        tests = re.search(r"(\d+) tests? failed out of (\d+)", text)
        if tests is None or status:
            problems.append("a seeded fault was not found")
        if tests is not None:
            faults = f"{int(tests[2]) - int(tests[1])} of {tests[2]}"
    return Outcome(
        name=one.name,
        commit=_commit(),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        seconds=time.monotonic() - started,
        shown=one.shows.format(**{name: f"{value:,}" for name, value in figures.items()}),
        faults=faults,
        problems=problems,
    )


def _commit() -> str:
    if not shutil.which("git"):
        return "unknown"

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!docs")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")


def outcomes() -> dict[str, Outcome]:
    """What earlier runs left."""
    files = OUTCOMES.glob("*.json") if OUTCOMES.is_dir() else []
    found = [msgspec.json.decode(file.read_bytes(), type=Outcome) for file in files]
    return {one.name: one for one in found}


def table(instruments: list[Instrument], found: dict[str, Outcome]) -> str:
    """The table of the page."""
    rows = [
        "| `tools/prove` | what it explores | figures of one run | faults seeded and found "
        "| found in the project | when |",
        "|---|---|---|---|---|---|",
    ]
    for one in instruments:
        outcome = found.get(one.name)
        if outcome is None:
            cells = ("**not run**", "", one.findings, "")
        else:
            shown = outcome.shown
            if outcome.problems:
                shown = f"**failed**: {'; '.join(outcome.problems)}"
            when = f"{outcome.date}, {outcome.commit}, {_duration(outcome.seconds)}"
            cells = (shown, outcome.faults, one.findings, when)
        rows.append(f"| {one.name} | {one.explores} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def write_page(text: str) -> None:
    """Put the table between its marks."""
    page = PAGE.read_text(encoding="utf-8")
    before, mark, rest = page.partition(BEGIN)
    _, closing, after = rest.partition(END)
    if not mark or not closing:
        raise SystemExit(f"error: {PAGE.name} has no '{BEGIN}' and '{END}' to write between")
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def main() -> int:
    """Run what was asked for, or everything; 0 when all of it held."""
    instruments = load()
    names = [one.name for one in instruments]
    parser = argparse.ArgumentParser(prog="tools/prove", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", nargs="*", help=f"one of: {', '.join(names)}; all if none is named")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--table", action="store_true", help="write the table, and run nothing")
    words = parser.parse_args()
    if unknown := sorted(set(words.name) - set(names)):
        parser.error(f"no instrument {', '.join(unknown)}; there are {', '.join(names)}")
    if words.list:
        for one in instruments:
            print(f"{one.name:16} {one.explores}")
        return 0
    failed = False
    for one in instruments:
        if words.table or (words.name and one.name not in words.name):
            continue
        print(f"{one.name}: {one.explores}", flush=True)
        outcome = prove(one)
        (OUTCOMES / f"{one.name}.json").write_bytes(msgspec.json.encode(outcome))
        print(f"    {outcome.shown}; faults: {outcome.faults}; {_duration(outcome.seconds)}")
        for problem in outcome.problems:
            print(f"    FAILED: {problem}")
        failed = failed or bool(outcome.problems)
    write_page(table(instruments, outcomes()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
