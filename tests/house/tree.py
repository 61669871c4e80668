"""The files of the checkout, as git sees them. Stands on git and pathlib; reads, never writes."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

__all__ = ["ROOT", "files", "own_header", "read"]

ROOT = Path(__file__).resolve().parents[2]

_SKIPPED = {".git", ".venv", "build", "dist", "__pycache__"}


@cache
def _names() -> tuple[str, ...]:
    """Every file in git, or that `git add` would add; without git, all but what tools make."""
    if (ROOT / ".git").exists():
        listing = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        names = [name for name in listing.split("\0") if name]
    else:
        names = []
        for folder, folders, leaves in os.walk(ROOT):
            folders[:] = [each for each in folders if each not in _SKIPPED]
            names += [os.path.relpath(os.path.join(folder, leaf), ROOT) for leaf in leaves]
    return tuple(sorted(name for name in set(names) if (ROOT / name).is_file()))


def files(*suffixes: str, under: str = "") -> Iterator[str]:
    """Names relative to the root, in order, of the files with one of these suffixes (or of all)."""
    for name in _names():
        if name.startswith(under) and (not suffixes or name.endswith(suffixes)):
            yield name


def read(name: str) -> str:
    """The text of a file of the checkout."""
    return (ROOT / name).read_text(encoding="utf-8")


def own_header(name: str, text: str, order: Sequence[str]) -> str:
    """The header of `order` that a C file belongs to.

    That of its name; for what a structure's own sources share (uf_x_in.h), uf_x.h; for a source
    named otherwise, the first header that it includes.
    """
    header = re.sub(r"(_in)?\.[ch]$", ".h", name)
    if header in order or name.endswith(".h"):
        return header
    included = re.findall(r'^#include "([^"]+)"', text, re.MULTILINE)
    return re.sub(r"_in\.h$", ".h", included[0]) if included else header
