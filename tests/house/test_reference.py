"""The reference pages that tools/reference.py makes are what it would make now."""

import subprocess
import sys
from pathlib import Path

from house.tree import ROOT, read


def _reference(*arguments: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "tools" / "reference.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def test_reference_pages_are_current() -> None:
    done = _reference("--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_rule_sees_violations(tmp_path: Path) -> None:
    # The tool finds its checkout by its own path: a copy makes the pages of another folder.
    (tmp_path / "ultrafast").symlink_to(ROOT / "ultrafast")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "reference.py").write_text(read("tools/reference.py"), encoding="utf-8")
    assert _reference("--check", root=tmp_path).returncode == 1  # no page is there
    assert _reference(root=tmp_path).returncode == 0
    assert _reference("--check", root=tmp_path).returncode == 0
    page = tmp_path / "docs" / "reference" / "config.md"
    page.write_text(page.read_text(encoding="utf-8") + "x", encoding="utf-8")
    changed = _reference("--check", root=tmp_path)
    assert changed.returncode == 1
    assert changed.stdout.splitlines() == [
        "docs/reference/config.md is out of date: run tools/reference.py"
    ]
