"""Programs run where something is scarce: a small file system, few descriptors, another user.

Stands on subprocess and on util-linux's unshare. What the kernel does is real: nothing is patched.
"""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

__all__ = ["ANOTHER_USER", "HOARD", "on_tmpfs", "run"]

ANOTHER_USER = 12345

HOARD = """
import errno, os, resource, sys
from pathlib import Path
from ultrafast import errors
from ultrafast.core import *

def hoard(leave):
    "Open files until there is no descriptor, then let go of so many."
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        assert error.errno == errno.EMFILE
    for descriptor in held[len(held) - leave:]:
        os.close(descriptor)
    return held[:len(held) - leave]
"""
"""For programs that use up their descriptors: `hoard(leave)`."""


def run(program: str, *arguments: object, before: list[str] | None = None) -> list[str]:
    """Run it to its end, which must be a good one without complaints: the lines it printed."""
    command = [sys.executable, "-P", "-c", textwrap.dedent(program), *map(str, arguments)]
    done = subprocess.run(
        [*(before or []), *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{done.returncode}: {done.stderr}"
    return done.stdout.splitlines()


def on_tmpfs(folder: Path, options: str) -> list[str]:
    """What makes a command see a file system of its own, in memory, mounted at the folder."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here, and so no file system of a test's own")
    mount = 'mount -t tmpfs -o "$0" tmpfs "$1" && shift && exec "$@"'
    before = ["unshare", "-Urm", "sh", "-c", mount, options, str(folder)]
    tried = subprocess.run([*before, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no file system of a test's own may be mounted here: {tried.stderr.strip()}")
    return before
