"""docs/reference/events.md names every event that the library emits, and no other."""

import ast
import re
from collections.abc import Iterator

from house.tree import files, read

PAGE = "docs/reference/events.md"
EMITTERS = {"_on_event", "on_event", "emit", "emit_soon", "say"}
PROMISED = {
    "agent.spawned",
    "agent.terminated",
    "agent.failed",
    "agent.restarted",
    "worker.died",
    "pool.scaled",
    "alert.raised",
    "alert.cleared",
    "message.dead_lettered",
}


def named(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """The constants of a module."""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


def emitted(source: str) -> Iterator[str]:
    """Subjects in calls that emit, written out or named; a host says `agent.` and a word."""
    tree = ast.parse(source)
    constants = dict(named(tree))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        first = node.args[0]
        if isinstance(first, ast.Name):
            first = constants.get(first.id, first)
        if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
            continue
        if name in EMITTERS:
            yield first.value
        elif name == "_say" and first.value.isidentifier():
            yield f"agent.{first.value}"


def tabled(page: str) -> set[str]:
    """Subjects in the first column of the table."""
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    return {subject for row in rows for subject in re.findall(r"`([^`]+)`", row)}


def test_the_table_is_what_the_library_emits() -> None:
    sources = [read(name) for name in files(".py", under="ultrafast/")]
    found = {subject for source in sources for subject in emitted(source)}
    assert found == tabled(read(PAGE))


def test_the_life_of_a_system_is_in_it() -> None:
    assert tabled(read(PAGE)) >= PROMISED


def test_the_rule_sees_what_it_is_to_see() -> None:
    source = """
self._on_event("pool.scaled", {})
self._say("failed", 1)
bus.emit_soon("alert.raised")
say(f"agent.{what}")
self.emit(subject)
_say("a sentence", file)
print("not.emitted")
"""
    assert sorted(emitted(source)) == ["agent.failed", "alert.raised", "pool.scaled"]
    assert tabled("| `a.b` *, `c.d` | when | `payload` |\n|---|\ntext `e.f`") == {"a.b", "c.d"}
