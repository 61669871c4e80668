#!/usr/bin/env python3
"""Seed faults into the C core, one at a time, and see whether the explorer objects.

Every memory order of the explored sources is made one step weaker (release and acquire to relaxed,
acq_rel to either half, seq_cst to acq_rel, or to the half that a load or a store has), and a list
of hand-made faults drops what the core's promises stand on: the helping, the version tags, the
owner marks, the table's second look. Each fault goes into a copy of csrc, tests/explore is built
from the copy, and its checks run until one fails.

    tools/weaken_orders.py                every fault; narrow bounds first, then the usual ones
    tools/weaken_orders.py --few          a handful, with narrow bounds: for every test run
    tools/weaken_orders.py --only ring    those whose name contains "ring"
    tools/weaken_orders.py --narrow       narrow bounds alone: minutes instead of an hour

Prints a line a fault, survivors with the argument that tests/explore/equivalent.txt has for them.
The exit status is 1 when one survives without an argument, when one is caught in spite of it, or
when the unchanged sources are. Stands on cmake, ninja and gcc. Judges the explorer's checks alone,
never the stress tests.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Which programs look at a source, the likeliest first.
PROGRAMS = {
    "uf_bits": ["pool", "agents", "queue"],
    "uf_pool": ["pool", "queue"],
    "uf_ring": ["ring", "bell", "queue", "agents"],
    "uf_queue": ["queue", "bell"],
    "uf_queue_names": ["names"],
    "uf_recover": ["queue", "bell", "names"],
    "uf_bell": ["bell"],
    "uf_owner": ["owner"],
    "uf_agents": ["agents"],
    "uf_agents_in": ["agents"],
    "uf_table": ["table", "table_mend"],
    "uf_table_in": ["table", "table_mend"],
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
        The explorations to run, in this order.
    """

    name: str
    source: str
    text: str
    programs: list[str]


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
            faults.append(Fault(name, path.name, changed, PROGRAMS[path.stem]))
    return faults


# name, source, what is replaced (once), by what, programs
BY_HAND: list[tuple[str, str, str, str, list[str]]] = [
    (
        "ring: a sender does not pass filled slots",
        "uf_ring.c",
        "            tail = past_filled(ring, tail, ahead); /* filled since the hint was moved */\n"
        "            continue;\n",
        "            break;\n",
        ["ring"],
    ),
    (
        "ring: a receiver waits for a claim to be cleared",
        "uf_ring.c",
        "        if (ahead > 0 || claimed) {\n            at =",
        "        if (claimed) {\n            return UF_EMPTY;\n        }\n"
        "        if (ahead > 0) {\n            at =",
        ["ring"],
    ),
    (
        "ring: no version in a cleared slot",
        "uf_ring.c",
        "uf_slot((lap_of(ring, position) + 1) & VERSION_MASK, 0, 0)",
        "uf_slot(lap_of(ring, position), 0, 0)",
        ["ring"],
    ),
    (
        "ring: no claimer in a claim",
        "uf_ring.c",
        "uf_slot(uf_slot_version(word), me, handle)",
        "uf_slot(uf_slot_version(word), me & 0, handle)",
        ["ring", "queue"],
    ),
    (
        "pool: no version in a freed block",
        "uf_pool.c",
        "uf_word(uf_word_version(word) + 1, UF_BLOCK_FREE, 0, 0),\n"
        "                          memory_order_release);\n    UF_STEP(P3);",
        "uf_word(uf_word_version(word), UF_BLOCK_FREE, 0, 0),\n"
        "                          memory_order_release);\n    UF_STEP(P3);",
        ["pool", "queue", "table"],
    ),
    (
        "pool: no second look after the bit was cleared",
        "uf_pool.c",
        "uf_bits_set(class->bits, index); /* given back meanwhile",
        "; /* given back meanwhile",
        ["pool"],
    ),
    (
        "pool: no owner in a taken block",
        "uf_pool.c",
        "uf_word_as(seen, UF_BLOCK_OWNED, pool->me, 0)",
        "uf_word_as(seen, UF_BLOCK_OWNED, pool->me & 0, 0)",
        ["pool", "queue"],
    ),
    (
        "pool: lost bits are not repaired",
        "uf_pool.c",
        "                uf_bits_set(class->bits, index);\n                mended++;",
        "                mended++;",
        ["pool", "queue"],
    ),
    (
        "queue: no taker's name on a message",
        "uf_queue.c",
        "uf_word_as(word, UF_BLOCK_TAKEN, queues->me, queue + 1)",
        "word",
        ["queue"],
    ),
    (
        "queue: the slot is cleared before the name is written",
        "uf_queue.c",
        "        message->position = claim.position;\n",
        "        uf_ring_clear(ring, claim.position);\n"
        "        message->position = claim.position;\n",
        ["queue"],
    ),
    (
        "recover: claims are not undone",
        "uf_recover.c",
        "uf_slot(uf_slot_version(word), UF_NOBODY, handle)",
        "word",
        ["queue"],
    ),
    (
        "recover: orphans are not announced",
        "uf_recover.c",
        "    atomic_store_explicit(&queues->record[queue].orphans, 1, memory_order_seq_cst);\n"
        "    done->orphaned++;",
        "    done->orphaned++;",
        ["queue", "bell"],
    ),
    (
        "table: a delete is left to the deleter",
        "uf_table.c",
        "            uf_table_finish_delete(table, found->bucket, i, word);\n"
        "            return UF_BUSY;",
        "            return UF_BUSY;",
        ["table"],
    ),
    (
        "table: the copy is not checked again",
        "uf_table.c",
        "        if (uf_table_is_still(&found)) {\n            if (entry->expires_ns",
        "        {\n            if (entry->expires_ns",
        ["table"],
    ),
    (
        "table: another's key is a miss at once",
        "uf_table_in.c",
        "again = same != 0;",
        "again = false;",
        ["table"],
    ),
    (
        "table: a reserved slot is an entry",
        "uf_table_in.c",
        "memory_order_acquire) == head;",
        "memory_order_acquire) + 1 > 0 * head;",
        ["table"],
    ),
    (
        "table: no version in a slot's word",
        "uf_table_in.h",
        "return (hash & 0xffff) << 48 | version << UF_HANDLE_BITS | handle;",
        "return (hash & 0xffff) << 48 | (version & 0) << UF_HANDLE_BITS | handle;",
        ["table"],
    ),
    (
        "table: no version in a bucket's head",
        "uf_table_in.h",
        "return ((head >> 35) + 1) << 35 | extension << 15 | valid;",
        "return (head >> 35) << 35 | extension << 15 | valid;",
        ["table"],
    ),
    (
        "table: a retired block keeps its version",
        "uf_table_in.c",
        "uf_word(uf_word_version(owner) + 1, UF_BLOCK_OWNED, table->me, 0)",
        "uf_word(uf_word_version(owner), UF_BLOCK_OWNED, table->me, 0)",
        ["table"],
    ),
    (
        "table: no intent",
        "uf_table_in.c",
        "uint64_t intent = handle == UF_HANDLE_NONE ? 0 : uf_table_stamp(owner, handle);",
        "uint64_t intent = (handle == UF_HANDLE_NONE ? 0 : uf_table_stamp(owner, handle)) & 0;",
        ["table"],
    ),
    (
        "agents: a claim checks no state",
        "uf_agents.c",
        "if (state_of(word) == UF_AGENT_WARM && type_of(word) == type &&",
        "if (type_of(word) == type &&",
        ["agents"],
    ),
    (
        "agents: a freed record keeps its generation",
        "uf_agents.c",
        "word_of(next_generation(word), 0, 0, UF_NOBODY",
        "word_of(generation_of(word), 0, 0, UF_NOBODY",
        ["agents"],
    ),
    (
        "bell: a sleeper is not marked",
        "uf_bell.c",
        "    atomic_store_explicit(bell, armed, memory_order_seq_cst);\n",
        "",
        ["bell"],
    ),
    (
        "bell: a ring marks, but wakes nobody",
        "uf_bell.c",
        "            syscall(SYS_futex, (uint32_t *)bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);",
        "            ;",
        ["bell"],
    ),
    (
        "owner: the lock is not asked for",
        "uf_owner.c",
        "    return fcntl(self->fd, F_OFD_SETLK, &lock) == 0;",
        "    return self->fd >= 0 && lock.l_len == 1;",
        ["owner"],
    ),
    (
        "owner: the state is not judged again under the lock",
        "uf_owner.c",
        "        if (phase_of(state) != UF_PHASE_FREE) {\n            unlock(self, slot);"
        " /* a dead process's, not yet mended */\n            continue;\n        }\n",
        "",
        ["owner"],
    ),
]
FEW = {
    "ring: a sender does not pass filled slots",
    "ring: a ticket queue",
    "pool: no second look after the bit was cleared",
    "queue: no taker's name on a message",
    "table: a delete is left to the deleter",
    "table: another's key is a miss at once",
    "table: no intent",
    "bell: a sleeper is not marked",
    "owner: the lock is not asked for",
    "uf_ring.c:uf_ring_push:3:seq_cst->acq_rel",
    "uf_pool.c:release:2:release->relaxed",
}


def all_faults(csrc: Path) -> list[Fault]:
    """Make every fault of the present sources; a hand-made one that fits no longer is an error."""
    faults = []
    for name, source, old, new, programs in BY_HAND:
        text = (csrc / source).read_text()
        if text.count(old) != 1:
            sys.exit(f"{name}: {source} has changed: its text is there {text.count(old)} times")
        faults.append(Fault(name, source, text.replace(old, new), programs))
    ticket = (ROOT / "tests/explore/ticket_ring.c").read_text()
    faults.append(Fault("ring: a ticket queue", "uf_ring.c", ticket, ["queue", "ring"]))
    for path in sorted(csrc.iterdir()):
        if path.stem in PROGRAMS:
            faults += order_faults(path)
    return faults


class Bench:
    """A copy of the sources and a build of the explorer from it.

    Parameters
    ----------
    place : Path
        An empty directory.
    """

    def __init__(self, place: Path) -> None:
        self.csrc = place / "csrc"
        self.build = place / "build"
        shutil.copytree(ROOT / "csrc", self.csrc)
        settings = {
            "UF_EXPLORED": str(self.csrc),
            "UF_BUILD_DOORS": "OFF",
            "UF_BUILD_TESTS": "ON",
            "UF_TEST_STEPS": "ON",
            "UF_WERROR": "OFF",
        }
        command = ["cmake", "-G", "Ninja", "-S", str(ROOT), "-B", str(self.build)]
        command += [f"-D{key}={value}" for key, value in settings.items()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def judge(self, programs: list[str], bounds: list[str]) -> str | None:
        """Build and run; the words of the check that objected, or None."""
        targets = [f"explore_{program}" for program in programs]
        made = subprocess.run(
            ["ninja", "-C", str(self.build), *targets], capture_output=True, text=True
        )
        if made.returncode != 0:
            sys.exit(f"the fault does not compile:\n{made.stdout[-2000:]}")
        for target in targets:
            program = self.build / "tests" / "explore" / target
            try:
                ran = subprocess.run(
                    [str(program), *bounds],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    timeout=LIMIT_S,
                )
            except subprocess.TimeoutExpired:
                return f"{target}: no end within {LIMIT_S} s"
            if ran.returncode != 0:
                lines = ran.stderr.strip().splitlines()
                return lines[-1] if lines else f"{target}: status {ran.returncode}"
        return None

    def try_fault(self, fault: Fault, usual: bool) -> str | None:
        """Put the fault in, judge, and take it out again."""
        place = self.csrc / fault.source
        before = place.read_text()
        place.write_text(fault.text)
        try:
            found = self.judge(fault.programs, NARROW)
            return self.judge(fault.programs, []) if found is None and usual else found
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


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--few", action="store_true", help="a handful, with narrow bounds")
    parser.add_argument("--narrow", action="store_true", help="narrow bounds alone")
    parser.add_argument("--only", default="", help="faults whose name contains this")
    options = parser.parse_args()
    why = arguments()
    caught, survived = 0, []
    surprises = 0
    with tempfile.TemporaryDirectory(prefix="uf-weaken-") as place:
        bench = Bench(Path(place))
        faults = [
            fault
            for fault in all_faults(ROOT / "csrc")
            if options.only in fault.name and (not options.few or fault.name in FEW)
        ]
        programs = sorted({program for fault in faults for program in fault.programs})
        if not faults or (options.few and not options.only and len(faults) != len(FEW)):
            sys.exit(f"{len(faults)} faults of this name: the list no longer fits the sources")
        objection = bench.judge(programs, NARROW)
        if objection is not None:
            sys.exit(f"the unchanged sources fail: {objection}")
        for fault in faults:
            began = time.monotonic()
            wide = not options.few and not options.narrow and fault.name not in why
            found = bench.try_fault(fault, usual=wide)
            took = time.monotonic() - began
            if found is not None:
                caught += 1
                print(f"caught    {fault.name}  [{took:.1f} s] {found[:150]}", flush=True)
                if fault.name in why:
                    surprises += 1
                    print("          ... though equivalent.txt argues that nobody can", flush=True)
            else:
                survived.append(fault.name)
                surprises += fault.name not in why
                reason = why.get(fault.name, "NOT EXPECTED TO")
                print(f"survived  {fault.name}  [{took:.1f} s] {reason}", flush=True)
    print(f"{len(faults)} faults: {caught} caught, {len(survived)} survived, {surprises} surprises")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
