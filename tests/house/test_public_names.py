"""Public names are documented as numpydoc wants, their examples run, and doors have stubs."""

import doctest
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import ultrafast
from house.tree import files

SECTION = re.compile(r"^(\w[\w ]*)\n(-{3,})$", re.MULTILINE)
KNOWN = {
    "Parameters",
    "Attributes",
    "Returns",
    "Yields",
    "Receives",
    "Raises",
    "Warns",
    "Warnings",
    "See Also",
    "Notes",
    "References",
    "Examples",
    "Methods",
    "Other Parameters",
}


def parse(text: str) -> tuple[str, dict[str, str]]:
    """The part before the first section, and section -> body."""
    pieces = SECTION.split(text)
    return pieces[0], dict(zip(pieces[1::3], pieces[3::3], strict=True))


def described(body: str) -> set[str]:
    """The names that a Parameters or Attributes section describes."""
    names: set[str] = set()
    for line in body.splitlines():
        if line and not line[0].isspace():
            names.update(part.strip(" *") for part in line.split(" : ")[0].split(","))
    return names


def parameters(call: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(call).parameters) - {"self", "cls", "args", "kwargs"}
    except (TypeError, ValueError):  # a builtin base's __init__ says nothing of its arguments
        return set()


def docstring_violations(name: str, each: Any) -> Iterator[str]:
    text = inspect.cleandoc(each.__dict__.get("__doc__") or "") if inspect.isclass(each) else ""
    text = text or inspect.getdoc(each) or ""
    before, sections = parse(text)
    summary = before.split("\n\n")[0].strip()
    if not summary or not summary.endswith((".", "?", "!")):
        yield f"{name}: opens with no sentence: {summary!r}"
    for title in sections:
        if title not in KNOWN:
            yield f"{name}: numpydoc knows no section {title!r}"
    is_error = inspect.isclass(each) and issubclass(each, BaseException)
    if callable(each) and not is_error:
        known = described(sections.get("Parameters", "")) | described(
            sections.get("Attributes", "")
        )
        missing = parameters(each) - known
        if missing:
            yield f"{name}: says nothing of {sorted(missing)}"
    if inspect.isclass(each):
        for member, value in vars(each).items():
            function = getattr(value, "fget", None) or getattr(value, "__func__", value)
            if not member.startswith("_") and inspect.isfunction(function):
                if not inspect.getdoc(function):
                    yield f"{name}.{member}: has no docstring"
                    continue
                _, inner = parse(inspect.getdoc(function) or "")
                extra = described(inner.get("Parameters", "")) - set(
                    inspect.signature(function).parameters
                )
                if extra:
                    yield f"{name}.{member}: describes {sorted(extra)}, which it does not take"


def stub_violations(names: list[str]) -> Iterator[str]:
    for name in names:
        if name.endswith(".pyx") and name.removesuffix("x") + "i" not in names:
            yield f"{name}: has no .pyi beside it"


@pytest.mark.parametrize("name", sorted(ultrafast.__all__))
def test_public_name_is_documented(name: str) -> None:
    each = getattr(ultrafast, name)
    if callable(each):
        found = list(docstring_violations(name, each))
        assert not found, "\n".join(found)


@pytest.mark.parametrize("name", sorted(ultrafast.__all__))
def test_examples_in_docstrings_run(name: str) -> None:
    each = getattr(ultrafast, name)
    if not (inspect.isclass(each) or inspect.isfunction(each)):
        return
    module = importlib.import_module(each.__module__)
    for example in doctest.DocTestFinder().find(each, name, module=module):
        result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example)
        assert not result.failed, f"{example.name}: {result.failed} of {result.attempted} differ"


def test_all_is_complete_and_honest() -> None:
    assert len(ultrafast.__all__) == len(set(ultrafast.__all__)) > 10
    for name in ultrafast.__all__:
        assert hasattr(ultrafast, name), name
    assert ultrafast.__doc__ and ultrafast.__version__


def test_every_door_has_its_stub_and_is_compiled() -> None:
    names = list(files(".pyx", ".pyi", under="ultrafast/core/"))
    assert not list(stub_violations(names))
    doors = [name for name in names if name.endswith(".pyx")]
    assert doors, "there are no doors"
    for door in doors:
        module = importlib.import_module(door.removesuffix(".pyx").replace("/", "."))
        assert module.__file__ and module.__file__.endswith(".so"), module.__file__


def _documented(a: int) -> int:
    """Give it back.

    Parameters
    ----------
    a : int
        What to give back.

    Returns
    -------
    int
        The same.
    """
    return a


def _undocumented(a: int) -> int:
    return a


class _Half:
    """A class."""

    def wrong(self, a: int) -> None:
        """Take one thing.

        Parameters
        ----------
        b : int
            Another.
        """

    def silent(self) -> None: ...


def test_rules_see_violations() -> None:
    assert not list(docstring_violations("x", _documented))
    assert list(docstring_violations("x", _undocumented))
    assert len(list(docstring_violations("x", _Half))) == 2
    assert not list(stub_violations(["a/_ring.pyx", "a/_ring.pyi"]))
    assert list(stub_violations(["a/_ring.pyx"]))
