#!/usr/bin/env python3
"""Seed faults into the C core, one at a time, and see whether the tests object.

Every memory order of the explored sources is made one step weaker (release and acquire to
relaxed, acq_rel to either half, seq_cst to acq_rel, or to the half that a load or a store has), and
lists of hand-made faults (tests/explore/faults*.toml, tests/c/faults.toml) drop what the core's
promises stand on: the helping, the version tags, the owner marks, the table's second look, what
recovery does. Each fault goes into a copy of csrc, the programs that should object are built from
the copy, and run until one fails: the explorer's checks for an order, those that its list names for
the others.

    tools/mutants.py                every fault; narrow bounds first, then the usual ones
    tools/mutants.py --few          a handful, with narrow bounds: for every test run
    tools/mutants.py --only ring    those whose name contains "ring"
    tools/mutants.py --narrow       narrow bounds alone: quick, but some need more
    tools/mutants.py --jobs 2       two at a time

Prints a line a fault, survivors with the argument that tests/explore/equivalent.txt has for them.
The exit status is 1 when one survives without an argument, when one is caught in spite of it, or
when the unchanged sources are. Stands on cmake, ninja and gcc.
"""

from __future__ import annotations

import argparse
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LISTS = (
    "tests/explore/faults.toml",
    "tests/explore/faults_delete.toml",
    "tests/explore/faults_deliver.toml",
    "tests/explore/faults_census.toml",
    "tests/c/faults.toml",
)
# Which programs look at a source, the likeliest first.
PROGRAMS = {
    "uf_bits": ["explore_pool", "explore_agents", "explore_queue"],
    "uf_pool": ["explore_pool", "explore_queue"],
    "uf_declared": ["explore_declared"],
    "uf_share": ["explore_share"],
    "uf_hold": ["explore_hold", "explore_table", "explore_table_mend"],
    "uf_ring": [
        "explore_ring",
        "explore_bell",
        "explore_queue",
        "explore_delete",
        "explore_agents",
    ],
    "uf_queue": ["explore_queue", "explore_bell", "explore_delete", "explore_deliver"],
    "uf_queue_close": ["explore_delete"],
    "uf_queue_names": ["explore_names"],
    "uf_recover": ["explore_queue", "explore_bell", "explore_names", "explore_share"],
    "uf_bell": ["explore_bell"],
    "uf_owner": ["explore_owner", "explore_deliver"],
    "uf_region": ["explore_owner"],
    "uf_agents": ["explore_agents", "explore_deliver"],
    "uf_deliver": ["explore_deliver"],
    "uf_agents_in": ["explore_agents"],
    "uf_census": ["explore_census"],
    "uf_counts": ["explore_census"],
    "uf_table": ["explore_table", "explore_table_mend"],
    "uf_table_in": ["explore_table", "explore_table_mend"],
    "uf_table_read": ["explore_table", "explore_table_mend"],
}
NARROW = ["--stale", "1", "--preemptions", "1"]
LIMIT_S = 300
WEAKER = {
    "load": {"acquire": ["relaxed"], "seq_cst": ["acquire"]},
    "store": {"release": ["relaxed"], "seq_cst": ["release"]},
    "change": {
        "acquire": ["relaxed"],
        "release": ["relaxed"],
        "acq_rel": ["acquire", "release"],
        "seq_cst": ["acq_rel"],
    },
}
OPERATION = re.compile(r"atomic_(\w+?)_explicit\s*\(")
ORDER = re.compile(r"memory_order_(\w+)")


@dataclass(frozen=True)
class Fault:
    """One change of the sources.

    Attributes
    ----------
    name : str
        What the reports and equivalent.txt call it.
    source : str
        The file of csrc that it changes.
    text : str
        The whole file, changed.
    programs : list of str
        Those that judge it, in this order.
    few : bool
        Whether every run of the tests tries it.
    """

    name: str
    source: str
    text: str
    programs: list[str]
    few: bool


def function_at(text: str, at: int) -> str:
    """Name the C function that a place is in."""
    heads = re.findall(r"^(?:[\w*]+[ *]+)+(\w+)\([^;{]*\)\n\{", text[:at], re.MULTILINE)
    return heads[-1] if heads else "?"


def operation_at(text: str, at: int) -> str:
    """Name the kind of atomic operation whose order stands here."""
    calls = list(OPERATION.finditer(text, max(0, at - 500), at))
    name = calls[-1].group(1) if calls else "?"
    return name if name in ("load", "store") else "change"


def order_faults(path: Path) -> list[Fault]:
    """Weaken each order of a source by one step.

    Names count from the start of the function, so that they outlive changes elsewhere.
    """
    text = path.read_text()
    faults = []
    seen: dict[str, int] = {}
    for match in ORDER.finditer(text):
        line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        if "/*" in line and "*/" not in line:
            continue  # a comment speaks of it
        kind, order = operation_at(text, match.start()), match.group(1)
        function = function_at(text, match.start())
        seen[function] = seen.get(function, 0) + 1
        for weak in WEAKER[kind].get(order, []):
            changed = text[: match.start(1)] + weak + text[match.end(1) :]
            name = f"{path.name}:{function}:{seen[function]}:{order}->{weak}"
            few = name in ORDERS_IN_FEW
            faults.append(Fault(name, path.name, changed, PROGRAMS[path.stem], few))
    return faults


ORDERS_IN_FEW = {
    "uf_ring.c:uf_ring_push_from:3:seq_cst->acq_rel",
    "uf_pool.c:release:2:release->relaxed",
}


def faults_by_hand(listed: Path, csrc: Path) -> list[Fault]:
    """Read a list of faults; one that fits its source no longer is an error."""
    faults = []
    for one in tomllib.loads(listed.read_text())["fault"]:
        if "file" in one:
            text = (ROOT / one["file"]).read_text()
        else:
            text = (csrc / one["source"]).read_text()
            for change in one["change"]:
                times = text.count(change["was"])
                if times != 1:
                    sys.exit(
                        f"{one['name']}: {one['source']} has this {times} times:\n{change['was']}"
                    )
                text = text.replace(change["was"], change["now"])
        few = one.get("few", False)
        faults.append(Fault(one["name"], one["source"], text, one["programs"], few))
    return faults


def all_faults(csrc: Path) -> list[Fault]:
    """Make every fault of the present sources."""
    faults = []
    for listed in LISTS:
        faults += faults_by_hand(ROOT / listed, csrc)
    for path in sorted(csrc.iterdir()):
        if path.stem in PROGRAMS:
            faults += order_faults(path)
    return faults


class Bench:
    """A copy of the sources, and a build of the programs from it.

    Parameters
    ----------
    place : Path
        An empty directory.
    """

    def __init__(self, place: Path) -> None:
        self.csrc = place / "csrc"
        self.build = place / "build"
        shutil.copytree(ROOT / "csrc", self.csrc)
        for name in ("CMakeLists.txt", "tests", "tools"):
            (place / name).symlink_to(ROOT / name)
        settings = {
            "UF_EXPLORED": str(self.csrc),
            "UF_BUILD_DOORS": "OFF",
            "UF_BUILD_TESTS": "ON",
            "UF_TEST_STEPS": "ON",
            "UF_WERROR": "OFF",
        }
        command = ["cmake", "-G", "Ninja", "-S", str(place), "-B", str(self.build)]
        command += [f"-D{key}={value}" for key, value in settings.items()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def objection(self, programs: list[str], narrow: bool) -> str | None:
        """Build and run; the words of the program that objected, or None."""
        made = subprocess.run(
            ["ninja", "-C", str(self.build), *programs], capture_output=True, text=True
        )
        if made.returncode != 0:
            raise RuntimeError(f"the fault does not compile:\n{made.stdout[-2000:]}")
        for program in programs:
            explores = program.startswith("explore_")
            place = self.build / "tests" / "explore" if explores else self.build
            try:
                ran = subprocess.run(
                    [str(place / program), *(NARROW if narrow and explores else [])],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    timeout=LIMIT_S,
                )
            except subprocess.TimeoutExpired:
                return f"{program}: no end within {LIMIT_S} s"
            if ran.returncode != 0:
                lines = ran.stderr.strip().splitlines()
                return f"{program}: {lines[-1] if lines else f'status {ran.returncode}'}"
        return None

    def try_fault(self, fault: Fault, usual: bool) -> str | None:
        """Put the fault in, judge, and take it out again."""
        place = self.csrc / fault.source
        before = place.read_text()
        place.write_text(fault.text)
        try:
            explorers = [name for name in fault.programs if name.startswith("explore_")]
            found = self.objection(explorers, narrow=True) if explorers else None
            if found is None and (usual or not explorers):
                found = self.objection(fault.programs, narrow=False)
            return found
        finally:
            place.write_text(before)


def arguments() -> dict[str, str]:
    """Read why each survivor that is expected to survive does."""
    why = {}
    for line in (ROOT / "tests/explore/equivalent.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, reason = line.partition("  ")
            why[name.strip()] = reason.strip()
    return why


def chosen(faults: list[Fault], options: argparse.Namespace) -> list[Fault]:
    """Pick the faults that were asked for; none at all is an error."""
    some = [
        fault for fault in faults if options.only in fault.name and (fault.few or not options.few)
    ]
    if not some or (options.few and ORDERS_IN_FEW - {fault.name for fault in faults}):
        sys.exit(f"{len(some)} faults of this name: the list no longer fits the sources")
    return some


def report(fault: Fault, found: str | None, took: float, why: str | None) -> bool:
    """Print a fault's line. True: it is as it should be."""
    if found is not None:
        print(f"caught    {fault.name}  [{took:.1f} s] {found[:170]}", flush=True)
        if why is not None:
            print("          ... though equivalent.txt argues that nobody can", flush=True)
        return why is None
    print(f"survived  {fault.name}  [{took:.1f} s] {why or 'NOT EXPECTED TO'}", flush=True)
    return why is not None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--few", action="store_true", help="a handful, with narrow bounds")
    parser.add_argument("--narrow", action="store_true", help="narrow bounds alone")
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--jobs", type=int, default=1, help="faults tried at a time")
    options = parser.parse_args()
    why = arguments()
    faults = chosen(all_faults(ROOT / "csrc"), options)
    unknown = set(why) - {fault.name for fault in all_faults(ROOT / "csrc")}
    if unknown:
        sys.exit(f"equivalent.txt argues for what is no fault: {', '.join(sorted(unknown))}")
    programs = sorted({program for fault in faults for program in fault.programs})
    with (
        tempfile.TemporaryDirectory(prefix="uf-mutants-") as place,
        ThreadPoolExecutor(options.jobs) as workers,
    ):
        benches: queue.Queue[Bench] = queue.Queue()
        for number in range(options.jobs):
            (Path(place) / str(number)).mkdir()
            benches.put(Bench(Path(place) / str(number)))

        def judge(fault: Fault) -> tuple[str | None, float]:
            bench = benches.get()
            began = time.monotonic()
            usual = not options.few and not options.narrow and fault.name not in why
            found = bench.try_fault(fault, usual)
            benches.put(bench)
            return found, time.monotonic() - began

        bench = benches.get()
        objection = bench.objection(programs, narrow=True)
        if objection is not None:
            sys.exit(f"the unchanged sources fail: {objection}")
        benches.put(bench)
        answers = zip(faults, workers.map(judge, faults), strict=True)
        caught = surprises = argued = 0
        for fault, (found, took) in answers:
            surprises += not report(fault, found, took, why.get(fault.name))
            caught += found is not None
            argued += found is None and fault.name in why
    print(
        f"{len(faults)} faults: {caught} caught, {argued} argued to be equivalent, "
        f"{len(faults) - caught - argued} open, {surprises} surprises"
    )
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
