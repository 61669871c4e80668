"""Every status of the C core has one class in ultrafast/errors.py and one line in its page."""

import inspect
import re
from collections import defaultdict
from collections.abc import Iterator

import ultrafast.errors
from house.tree import read

PAGE = "docs/reference/errors.md"


def statuses(text: str) -> dict[str, int]:
    """Name -> value, from the rows X(NAME, value, "sentence") of uf_status.h."""
    return {
        name: int(value)
        for name, value in re.findall(r'^\s*X\((\w+),\s*(-?\d+),\s*"[^"]+"\)', text, re.MULTILINE)
    }


def status_violations(
    listed: dict[str, int], classes: list[tuple[str, int]], page: str
) -> Iterator[str]:
    carriers = defaultdict(list)
    for class_name, value in classes:
        carriers[value].append(class_name)
    values = list(listed.values())
    for name, value in listed.items():
        if values.count(value) > 1:
            yield f"UF_{name}: its value {value} is given twice"
        if value == 0:
            continue  # done
        if value > 0:
            yield f"UF_{name}: {value} reads as a count; statuses are negative"
        if len(carriers[value]) != 1:
            yield f"UF_{name} ({value}): one class should carry it; {carriers[value]} do"
        for class_name in carriers[value]:
            line = rf"^.*\b{class_name}\b.*\b{name}\b.*$|^.*\b{name}\b.*\b{class_name}\b.*$"
            if not re.search(line, page, re.MULTILINE):
                yield f"{PAGE}: no line names {class_name} and {name} together"
    for value, names in carriers.items():
        if value not in values:
            yield f"{', '.join(names)}: the status {value} is not in uf_status.h"


def _classes() -> list[tuple[str, int]]:
    """The classes that carry a status of the core, in their own body."""
    return [
        (name, each.__dict__["status"])
        for name, each in inspect.getmembers(ultrafast.errors, inspect.isclass)
        if issubclass(each, ultrafast.errors.UltrafastError)
        and isinstance(each.__dict__.get("status"), int)
    ]


def test_every_status_has_one_class_and_one_line() -> None:
    listed = statuses(read("csrc/uf_status.h"))
    assert len(listed) > 5
    found = list(status_violations(listed, _classes(), read(PAGE)))
    assert not found, "\n".join(found)


def test_every_error_is_on_its_page() -> None:
    page = read(PAGE)
    missing = [name for name in ultrafast.errors.__all__ if not re.search(rf"\b{name}\b", page)]
    assert not missing, f"{PAGE} lacks {missing}"


def test_every_error_is_also_one_that_people_already_catch() -> None:
    for name, each in inspect.getmembers(ultrafast.errors, inspect.isclass):
        if each.__module__ == "ultrafast.errors" and each is not ultrafast.errors.UltrafastError:
            assert issubclass(each, ultrafast.errors.UltrafastError), name
            builtin = [base for base in each.__mro__ if base.__module__ == "builtins"]
            assert builtin[0] is not Exception, f"{name} derives from no builtin but Exception"


def test_rule_sees_violations() -> None:
    text = '#define L(X) \\\n    X(OK, 0, "done") \\\n    X(FULL, -1, "no slot") \\\n'
    listed = statuses(text + '    X(EMPTY, -2, "nothing")')
    assert listed == {"OK": 0, "FULL": -1, "EMPTY": -2}
    classes, page = [("RingFull", -1), ("RingEmpty", -2)], "`RingFull` FULL\n`RingEmpty` EMPTY\n"
    assert not list(status_violations(listed, classes, page))
    assert list(status_violations(listed, classes[:1], page))
    assert list(status_violations(listed, [*classes, ("Other", -2)], page + "Other EMPTY"))
    assert list(status_violations(listed, [*classes, ("Ghost", -9)], page))
    assert list(status_violations(listed, classes, page.replace("EMPTY", "")))
    assert list(status_violations({**listed, "AGAIN": -1}, classes, page))
