"""The Python in README.md and docs/ runs, and links between pages lead somewhere.

A fenced block that begins ```python is a whole program; one that defines `main` and does not call
it has it called. Words after `python` on the fence change that:

    python continues   the blocks of the page before it come first
    python fragment    not run, only compiled: a piece that shows a shape

Models are played by the loopback server, so no example needs a key.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from house.tree import ROOT, files, read
from ultrafast.testing import LoopbackServer

TIMEOUT_S = 100
FENCE = re.compile(r"^```python([^\n]*)\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


class Example(NamedTuple):
    page: str
    line: int
    words: frozenset[str]
    code: str


def examples(page: str, text: str) -> Iterator[Example]:
    before = ""
    for match in FENCE.finditer(text):
        words = frozenset(match[1].split())
        code = match[2]
        if "continues" in words:
            code = before + code
        if "fragment" not in words:
            before = code + "\n"
        yield Example(page, text.count("\n", 0, match.start()) + 1, words, code)


def program(code: str) -> str:
    """The block as a program: a `main` that it defines and never calls is called."""
    tree = ast.parse(code, type_comments=False)
    mains = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "main"
    ]
    called = any(isinstance(node, ast.Name) and node.id == "main" for node in ast.walk(tree))
    if not mains or called:
        return code
    call = "asyncio.run(main())" if isinstance(mains[-1], ast.AsyncFunctionDef) else "main()"
    return f"{code}\n\nif __name__ == '__main__':\n    import asyncio\n\n    {call}\n"


def run(example: Example, folder: Path, environment: dict[str, str]) -> str:
    """What is wrong with the example, or ''."""
    try:
        source = program(example.code)
    except SyntaxError as error:
        return f"does not compile: {error}"
    if "fragment" in example.words:
        return ""
    script = folder / "example.py"
    script.write_text(source, encoding="utf-8")
    try:
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return f"did not end within {TIMEOUT_S} s"
    return "" if done.returncode == 0 else f"exit status {done.returncode}\n{done.stderr}"


def broken_links(page: str, text: str) -> Iterator[str]:
    for target in LINK.findall(re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)):
        if "://" not in target and not target.startswith("mailto:"):
            path = (ROOT / page).parent / target
            if not path.exists():
                yield f"{page}: the link to {target} leads nowhere"


PAGES = ["README.md", *files(".md", under="docs/")]
EXAMPLES = [example for page in PAGES for example in examples(page, read(page))]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with LoopbackServer() as server:
        yield {
            **os.environ,
            "ANTHROPIC_BASE_URL": server.base_url,
            "ANTHROPIC_API_KEY": "loopback",
            "PYTHONWARNINGS": "error::SyntaxWarning",
        }


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: f"{each.page}:{each.line}")
def test_example_runs(example: Example, tmp_path: Path, environment: dict[str, str]) -> None:
    wrong = run(example, tmp_path, environment)
    assert not wrong, f"{example.page}:{example.line}: {wrong}"


def test_readme_has_an_example_that_runs() -> None:
    assert any(each.page == "README.md" and "fragment" not in each.words for each in EXAMPLES)


def test_links_lead_somewhere() -> None:
    found = [line for page in PAGES for line in broken_links(page, read(page))]
    assert not found, "\n".join(found)


def test_rules_see_violations(tmp_path: Path) -> None:
    page = (
        "```python\nx = 1\n```\n"
        "```python continues\nassert x == 1\n```\n"
        "```python\nassert x == 1\n```\n"
        "```python fragment\nx = (\n```\n"
        "```python fragment\nundefined()\n```\n"
        "```python\nasync def main():\n    raise SystemExit(3)\n```\n"
    )
    found = list(examples("x.md", page))
    wrong = [bool(run(each, tmp_path, dict(os.environ))) for each in found]
    assert wrong == [False, False, True, True, False, True]
    assert list(broken_links("docs/x.md", "see [that](no-such-page.md#part)"))
    assert not list(broken_links("README.md", "see [it](LICENSE) and [web](https://example.org)"))
