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
    "SOURCE",
]

# Words and helpers that hold no shared memory of their own, and the page that includes the rest.
NOT_STRUCTURES = {"uf.h", "uf_line.h", "uf_status.h", "uf_step.h", "uf_bits.h"}

FENCE = re.compile(
    r"\b(atomic_thread_fence|atomic_signal_fence|__sync_synchronize|__atomic_\w*fence)"
)
ATOMIC_FIELD = re.compile(r"^\s+(?:alignas\([^)]*\)\s*)?_Atomic\b[^;(*]*;", re.MULTILINE)
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
    if name.endswith(".h"):
        lines = text.splitlines()
        for match in ATOMIC_FIELD.finditer(text):
            number = text.count("\n", 0, match.end())
            above = lines[number - 1].strip() if number else ""
            if "/*" not in lines[number] and not (
                above.startswith(("/*", "*")) and above.endswith("*/")
            ):
                yield f"{name}:{number + 1}: a shared word without a line on who writes it"


def order_pairs(text: str) -> list[tuple[str, str]]:
    """The pairs of the ORDER table, as ('S1', 'R1'); a row may name several partners."""
    pairs = []
    for row in sections(text).get("ORDER", "").splitlines():
        left, arrow, right = row.partition("->")
        sources, partners = re.findall(rf"\b{LABEL}\b", left), re.findall(rf"\b{LABEL}\b", right)
        if arrow:
            pairs += [(source, partner) for source in sources for partner in partners]
    return pairs


def label_violations(name: str, header: str, source: str) -> Iterator[str]:
    """A pair is listed once; what is listed is commented where it happens, and the other way."""
    pairs = order_pairs(header)
    for (left, right), times in Counter(pairs).items():
        if times > 1:
            yield f"{name}: the pair {left} -> {right} stands {times} times in ORDER"
    listed = {label for pair in pairs for label in pair}
    body = header.removeprefix(opening(header)) + source
    openings = re.findall(rf"/\* ({LABEL}(?:, {LABEL})*)[ .:]", body)
    commented = {label for labels in openings for label in labels.split(", ")}
    for label in sorted(listed - commented):
        yield f"{name}: {label} of ORDER is on no access: no comment opens with it"
    for label in sorted(commented - listed):
        yield f"{name}: {label} is on an access, but in no row of ORDER"


def _structures() -> list[str]:
    names = [name.removeprefix("csrc/") for name in files(".h", under="csrc/")]
    return [name for name in names if name not in NOT_STRUCTURES]


def test_headers_open_with_their_contract() -> None:
    names = _structures()
    assert len(names) >= 5, "the core's structures are not there"
    found = [line for name in names for line in heading_violations(name, read(f"csrc/{name}"))]
    assert not found, "\n".join(found)


def test_shared_words_say_who_writes_them_and_no_fence_stands_alone() -> None:
    names = list(files(".c", ".h", under="csrc/"))
    found = [
        line for name in names for line in atomic_violations(name.removeprefix("csrc/"), read(name))
    ]
    assert not found, "\n".join(found)


def test_order_tables_and_accesses_agree() -> None:
    sources = set(files(".c", under="csrc/"))
    found = []
    for name in _structures():
        own = f"csrc/{name}"[:-1] + "c"
        source = read(own) if own in sources else ""
        found += label_violations(name, read(f"csrc/{name}"), source)
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


def test_atomic_rule_sees_violations() -> None:
    assert not list(atomic_violations("uf_x.h", GOOD))
    assert list(atomic_violations("uf_x.c", "atomic_thread_fence(memory_order_seq_cst);"))
    assert list(atomic_violations("uf_x.h", GOOD.replace(" /* the sender writes it */", "")))
    assert list(atomic_violations("uf_x.h", GOOD.replace("    /* the receiver writes it */\n", "")))


def test_label_rule_sees_violations() -> None:
    assert order_pairs(GOOD) == [("S1", "R1"), ("R2", "S2")]
    source = "/* S1 -> R1. */ /* R1 <- S1. */ /* R2 -> S2. */ /* S2. */ /* R1, R2. */"
    assert not list(label_violations("uf_x.h", GOOD, source))
    assert list(label_violations("uf_x.h", GOOD, source.replace("R1", "R9")))
    assert list(label_violations("uf_x.h", GOOD, source + "/* S3 -> R1. */"))
    twice = GOOD.replace("R2 head", "S1 tail").replace("S2", "R1")
    assert list(label_violations("uf_x.h", twice, "/* S1. */ /* R1. */"))
