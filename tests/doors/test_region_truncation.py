"""A region's file that is made shorter under those who have it mapped: what happens, who can do it.

What docs/explanation/the-region.md says about it is the kernel's rule; here the kernel is asked.
"""

import errno
import fcntl
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from doors.small import SMALL, child
from ultrafast import errors
from ultrafast.core import Region, region_bytes

F_SEAL_SEAL = 1
F_SEAL_SHRINK = 2

SHM = Path("/dev/shm")

# Every call that a user's program is likely to make first, in a process that has the region mapped.
TOUCH = """
import sys
from ultrafast.core import Queues, Region, Table
region = Region.attach(sys.argv[1])
queues, table = Queues(region), Table(region)
print("attached", flush=True)
sys.stdin.readline()
queues.open("inbox")
table.set("s", "k", b"v")
print("survived", flush=True)
"""


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A region on a memory file system: seals are its."""
    if not os.access(SHM, os.W_OK):
        pytest.skip("there is no /dev/shm to write to")
    with tempfile.TemporaryDirectory(prefix="uf-doors-", dir=SHM) as folder:
        file = Path(folder) / "region"
        Region.create(file, SMALL).close()
        yield file


def test_touching_what_was_cut_off_ends_the_process_with_sigbus(in_memory: Path) -> None:
    with child(TOUCH, in_memory) as victim, child(TOUCH, in_memory) as other:
        assert (victim.hear(), other.hear()) == ("attached", "attached")
        os.truncate(in_memory, 4096)
        for each in (victim, other):
            each.tell("go on")
            assert each.process.wait(30) == -signal.SIGBUS


def test_a_file_that_was_cut_and_grown_again_is_refused(in_memory: Path) -> None:
    os.truncate(in_memory, 4096)
    os.truncate(in_memory, region_bytes(SMALL))
    with pytest.raises(errors.RegionCorrupt):
        Region.attach(in_memory)


def test_the_kernel_seals_no_file_that_has_a_name(in_memory: Path) -> None:
    with in_memory.open("r+b") as file:
        assert fcntl.fcntl(file, fcntl.F_GET_SEALS) == F_SEAL_SEAL  # no seal may be added
        with pytest.raises(PermissionError):
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, F_SEAL_SHRINK)


def test_what_can_be_sealed_can_have_no_name(in_memory: Path) -> None:
    sealed = os.memfd_create("region", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(sealed, 8192)
        fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, F_SEAL_SHRINK)
        with pytest.raises(PermissionError):
            os.ftruncate(sealed, 4096)
        # By a folder's descriptor, for then the link in /proc is followed to what it stands for.
        folder = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
        try:
            with pytest.raises(OSError) as caught:
                os.link(str(sealed), in_memory.with_name("linked"), src_dir_fd=folder)
        finally:
            os.close(folder)
        assert caught.value.errno == errno.EXDEV
    finally:
        os.close(sealed)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_can_neither_open_nor_cut_it(in_memory: Path) -> None:
    in_memory.parent.chmod(0o755)  # so that it is the file's own mode that refuses
    program = """
    import os, sys
    from ultrafast import errors
    from ultrafast.core import Region
    os.setgid(12345)
    os.setuid(12345)
    for attempt in (lambda: os.truncate(sys.argv[1], 0), lambda: open(sys.argv[1], "r+b")):
        try:
            attempt()
        except PermissionError:
            print("refused")
    try:
        Region.attach(sys.argv[1])
    except errors.RegionDenied:
        print("refused")
    """
    with child(program, in_memory) as stranger:
        assert stranger.end().split() == ["refused"] * 3
    Region.attach(in_memory).close()
