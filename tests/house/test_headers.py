"""The contract that each C structure opens with, and what its atomic words must say."""

import re
from collections import Counter
from collections.abc import Iterator

from house.tree import files, read

HEADINGS = [
    "WHAT",
    "PICTURE",
    "OWNERSHIP",
    "THREADS",
    "PROGRESS",
    "DEATH",
    "ORDER",
    "ERRORS",
    "PROOF",
    "SOURCE",
]

# What the core has a part in: nobody waits for the dead; an accepted message is delivered; a read
# is whole; no surprise inside.
PROMISES = ("P1", "P2", "P5", "P8")
CHECK = re.compile(r"`((?:test|explore|steps|linear|fuzz)(?:_\w+)?)`")
NO_PART = re.compile(r"\b(holds no|counts only|as uf_)")
SEEDED = re.compile(r"^(?:uf_seed_fault|linear_seed|\s*fuzz_seed_fault)\((\w+) ", re.MULTILINE)

# Words for all the others, and the page that includes the rest. (uf_x_in.h is of uf_x.h.)
NOT_STRUCTURES = {"uf.h", "uf_line.h", "uf_status.h", "uf_step.h", "uf_crc.h"}

FENCE = re.compile(
    r"\b(atomic_thread_fence|atomic_signal_fence|__sync_synchronize|__atomic_\w*fence)"
)
ATOMIC_FIELD = re.compile(
    r"\s+(?:alignas\([^)]*\)\s*)?_Atomic\b[^;(*]*(?<!reserved)(?<!reserved2);"
)
# One comment may speak for a whole struct.
SPOKEN_FOR = re.compile(r"^/\*[^/]*\bwrit[^/]*\*/\nstruct [^;]*?\{.*?^\}", re.MULTILINE | re.DOTALL)
LABEL = r"[A-Z]{1,2}\d{1,2}"


def opening(text: str) -> str:
    """The comment that a header begins with."""
    found = re.match(r"/\*.*?\*/", text, re.DOTALL)
    return found.group(0) if found else ""


def sections(text: str) -> dict[str, str]:
    """Heading -> text of the opening comment's sections, in their order."""
    parts = re.split(r"^ \* ([A-Z]{4,})\b[ \t]*", opening(text), flags=re.MULTILINE)
    known = {}
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        known[heading] = re.sub(r"^ \*", "", body, flags=re.MULTILINE).strip(" \n*/")
    return known


def heading_violations(name: str, text: str) -> Iterator[str]:
    if not re.match(rf"/\* {re.escape(name)} -- \S", text):
        yield f"{name}: does not open with '/* {name} -- what it is.'"
    found = sections(text)
    if list(found) != HEADINGS:
        yield f"{name}: headings are {list(found)}, not {HEADINGS}"
    for heading, body in found.items():
        if not body:
            yield f"{name}: {heading} says nothing"


def atomic_violations(name: str, text: str) -> Iterator[str]:
    for fence in FENCE.findall(text):
        yield f"{name}: {fence}: the order belongs on the operation, where ThreadSanitizer sees it"
    if not name.endswith(".h"):
        return
    lines = SPOKEN_FOR.sub(lambda match: "\n" * match[0].count("\n"), text).splitlines()
    for above, (number, line) in zip(["", *lines], enumerate(lines, 1), strict=False):
        commented = "/*" in line or re.fullmatch(r"\s*(/\*|\*).*\*/", above)
        if ATOMIC_FIELD.match(line) and not commented:
            yield f"{name}:{number}: a shared word without a line on who writes it"


def labels(text: str, heading: str) -> set[str]:
    return set(re.findall(rf"\b{LABEL}\b", sections(text).get(heading, "")))


def label_violations(headers: dict[str, str], sources: dict[str, str]) -> Iterator[str]:
    """What ORDER lists is commented where it happens; what is commented is in ORDER or DEATH."""
    commented = {
        name: _openings(text.removeprefix(opening(text))) for name, text in headers.items()
    }
    commented |= {name: _openings(text) for name, text in sources.items()}
    everywhere = set().union(*commented.values())
    explained: set[str] = set()
    for name, text in headers.items():
        explained |= labels(text, "ORDER") | labels(text, "DEATH")
        for label in sorted(labels(text, "ORDER") - everywhere):
            yield f"{name}: {label} of ORDER is on no access: no comment opens with it"
        rows = re.findall(rf"^ \*(?: ORDER)? {{5,}}({LABEL})\b.*->", opening(text), re.MULTILINE)
        for label, times in Counter(rows).items():
            if times > 1:
                yield f"{name}: {times} rows of ORDER begin with {label}"
    for name, found in commented.items():
        for label in sorted(found - explained):
            yield f"{name}: {label} is on an access, but in no header's ORDER or DEATH"


def proof_violations(name: str, text: str, checks: set[str]) -> Iterator[str]:
    """For each promise, a check that would fail without the structure's part in it."""
    proof = " ".join(sections(text).get("PROOF", "").split())
    for promise in PROMISES:
        found = re.search(rf"\b{promise}\b[^:]*: *(.*?)(?=\bP\d\b|$)", proof)
        if found is None:
            yield f"{name}: PROOF does not speak of {promise}"
        elif not (CHECK.search(found[1]) or NO_PART.search(found[1])):
            yield f"{name}: {promise} of PROOF names no check"
    for check in CHECK.findall(proof):
        if check not in checks:
            yield f"{name}: PROOF names {check}, which is no program or seeded fault of tests/"


def _checks() -> set[str]:
    """Programs of the C tests, and the tests of seeded faults by their names in ctest."""
    known = {re.sub(r".*/|\.c$", "", name) for name in files(".c", under="tests/")}
    known |= {"steps", "linear"}
    for folder, prefix in (("instructions", "steps"), ("linear", "linear"), ("fuzz", "fuzz")):
        seeded = SEEDED.findall(read(f"tests/{folder}/CMakeLists.txt"))
        known |= {f"{prefix}_finds_{fault}" for fault in seeded}
    return known


def _openings(text: str) -> set[str]:
    """The labels that comments open with."""
    found = re.findall(rf"/\* ({LABEL}(?:, {LABEL})*)(?:[.:]| (?:<?->|<-|\*/))", text)
    return {label for several in found for label in several.split(", ")}


def _structures() -> list[str]:
    names = [name.removeprefix("csrc/") for name in files(".h", under="csrc/")]
    return [n for n in names if n not in NOT_STRUCTURES and not n.endswith("_in.h")]


def test_headers_open_with_their_contract() -> None:
    names = _structures()
    assert len(names) >= 5, "the core's structures are not there"
    found = [line for name in names for line in heading_violations(name, read(f"csrc/{name}"))]
    assert not found, "\n".join(found)


def test_headers_name_for_each_promise_the_check_that_would_fail() -> None:
    checks = _checks()
    assert sum("_finds_" in check for check in checks) > 20
    found = [line for n in _structures() for line in proof_violations(n, read(f"csrc/{n}"), checks)]
    assert not found, "\n".join(found)


def test_shared_words_say_who_writes_them_and_no_fence_stands_alone() -> None:
    names = list(files(".c", ".h", under="csrc/"))
    found = [
        line for name in names for line in atomic_violations(name.removeprefix("csrc/"), read(name))
    ]
    assert not found, "\n".join(found)


def test_order_tables_and_accesses_agree() -> None:
    headers = {name: read(f"csrc/{name}") for name in _structures()}
    rest = list(files(".c", "_in.h", under="csrc/"))
    assert any(labels(text, "ORDER") for text in headers.values())
    found = list(label_violations(headers, {name: read(name) for name in rest}))
    assert not found, "\n".join(found)


GOOD = """/* uf_x.h -- an example.
 *
 * WHAT       A thing.
 * PICTURE    [ . ]
 * OWNERSHIP  Nobody's.
 * THREADS    Any.
 * PROGRESS   Wait-free.
 * DEATH      Harmless.
 * ORDER      S1 tail release -> R1 tail acquire   the slot is filled
 *            R2 head release -> S2 head acquire   the slot has been read
 * ERRORS     None.
 * PROOF      P1: `test_x`. P2, P5: holds no value. P8: `fuzz_finds_y`.
 * SOURCE     None.
 */
struct uf_x {
    _Atomic uint32_t tail; /* the sender writes it */
    /* the receiver writes it */
    alignas(UF_LINE) _Atomic uint32_t head;
};
"""


def test_heading_rule_sees_violations() -> None:
    assert not list(heading_violations("uf_x.h", GOOD))
    assert list(heading_violations("uf_y.h", GOOD))
    assert list(heading_violations("uf_x.h", GOOD.replace(" * DEATH      Harmless.\n", "")))
    assert list(heading_violations("uf_x.h", GOOD.replace("Harmless.", "")))
    swapped = GOOD.replace("WHAT  ", "TEMP  ").replace("PICTURE", "WHAT").replace("TEMP", "PICTURE")
    assert list(heading_violations("uf_x.h", swapped))


def test_proof_rule_sees_violations() -> None:
    def found(text: str, checks: tuple[str, ...] = ("test_x", "fuzz_finds_y")) -> list[str]:
        return list(proof_violations("uf_x.h", text, set(checks)))

    assert not found(GOOD)
    assert found(GOOD, ("test_x",))
    assert found(GOOD.replace("P1: `test_x`. ", ""))
    assert found(GOOD.replace("P1: `test_x`. ", "P1: obvious. "))
    assert found(GOOD.replace("P2, P5", "P2"))


def test_atomic_rule_sees_violations() -> None:
    assert not list(atomic_violations("uf_x.h", GOOD))
    assert list(atomic_violations("uf_x.c", "atomic_thread_fence(memory_order_seq_cst);"))
    assert list(atomic_violations("uf_x.h", GOOD.replace(" /* the sender writes it */", "")))
    bare = GOOD.replace("    /* the receiver writes it */\n", "")
    assert list(atomic_violations("uf_x.h", bare))
    assert not list(atomic_violations("uf_x.h", bare.replace("head;", "reserved2;")))
    spoken_for = bare.replace("struct uf_x", "/* One sender writes all of it. */\nstruct uf_x")
    assert not list(atomic_violations("uf_x.h", spoken_for))
    assert list(atomic_violations("uf_x.h", bare.replace("struct uf_x", "/* A. */\nstruct uf_x")))


def test_label_rule_sees_violations() -> None:
    def found(source: str, header: str = GOOD) -> list[str]:
        return list(label_violations({"uf_x.h": header}, {"uf_x.c": source}))

    assert labels(GOOD, "ORDER") == {"S1", "R1", "R2", "S2"}
    source = "/* S1 -> R1. */ /* R1 <- S1. */ /* R2 -> S2. */ x(); /* S2 */ /* R1, R2. */"
    assert not found(source)
    assert found(source.replace("/* S2 */", ""))
    assert found(source + "/* S3 -> R1. */")
    assert not found(source + "/* D1 */", GOOD.replace("Harmless.", "D1: harmless."))
    assert found(source, GOOD.replace("R2 head", "S1 tail"))
