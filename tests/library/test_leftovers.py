"""What dead systems left goes; what lives, and what is not ours, stays."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ultrafast.config import _NAME as CONFIG_NAME
from ultrafast.core import Region
from ultrafast.core.leftovers import (
    _NAME,
    check_name,
    region_path,
    remove_leftovers,
    remove_region,
)
from ultrafast.core.sizes import Sizes
from ultrafast.errors import InvalidArgument

SIZES = Sizes(
    owners=4,
    buckets=16,
    extensions=4,
    queues=2,
    queue_capacity=16,
    agents=4,
    types=2,
    warm=4,
    shards=1,
    settings_bytes=64,
    message_blocks=((256, 8),),
    value_blocks=((256, 8),),
)

ATTACH = """
import sys
from ultrafast.core import Region
region = Region.attach(sys.argv[1])
print("attached", flush=True)
sys.stdin.read()
"""

REMOVE = """
import sys
from ultrafast.core.leftovers import remove_leftovers
print("ready", flush=True)
sys.stdin.readline()
print(len(remove_leftovers(sys.argv[1])), flush=True)
"""

CREATE = """
import os, sys
from ultrafast.core import Region
from library.test_leftovers import SIZES
region = Region.create(sys.argv[1], SIZES)
os.mkfifo(sys.argv[1] + ".bell.1")
print("created", flush=True)
sys.stdin.read()
"""


@contextmanager
def process(code: str, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    """A child that has said that it is ready; it is killed at the end."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", code, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline()
            yield child
        finally:
            child.kill()


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def removed(directory: Path) -> list[str]:
    paths = remove_leftovers(directory)
    assert all(os.path.dirname(path) == str(directory) for path in paths)
    return [os.path.basename(path) for path in paths]


def dead_region(path: str | Path) -> None:
    """A region whose every process is gone, with nothing tidied up."""
    Region.create(path, SIZES).close()
    assert os.path.exists(path)


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_names() -> None:
    assert region_path("/dev/shm", "a.b-C_1") == "/dev/shm/ultrafast-a.b-C_1"
    assert check_name("x" * 64) == "x" * 64
    for name in ("", "x" * 65, "a/b", "..x/", "ä", "a b", "a\n"):
        with pytest.raises(InvalidArgument, match="can't be a region's name"):
            region_path("/dev/shm", name)
    assert CONFIG_NAME.pattern == _NAME.pattern


def test_remove_region_takes_its_bells_too(tmp_path: Path) -> None:
    path = region_path(tmp_path, "one")
    dead_region(path)
    for name in ("one.bell.0", "one.bell.12", "one2.bell.0"):
        os.mkfifo(tmp_path / f"ultrafast-{name}")
    (tmp_path / "ultrafast-one.bell.3").write_text("a file, not a bell")
    gone = [os.path.basename(each) for each in remove_region(path)]
    assert sorted(gone) == ["ultrafast-one", "ultrafast-one.bell.0", "ultrafast-one.bell.12"]
    assert names(tmp_path) == ["ultrafast-one.bell.3", "ultrafast-one2.bell.0"]
    assert remove_region(path) == []


def test_a_region_lives_as_long_as_anybody_is_attached(tmp_path: Path) -> None:
    path = region_path(tmp_path, "x")
    region = Region.create(path, SIZES)
    os.mkfifo(path + ".bell.0")
    assert removed(tmp_path) == []
    with process(ATTACH, path) as child:
        region.close()
        assert removed(tmp_path) == []  # the manager is gone, a client is not
        child.send_signal(signal.SIGSTOP)
        assert removed(tmp_path) == []  # stopped is not dead
        child.kill()
        child.wait()
        assert removed(tmp_path) == ["ultrafast-x", "ultrafast-x.bell.0"]
    assert names(tmp_path) == []


def test_a_killed_creator_leaves_what_can_be_removed(tmp_path: Path) -> None:
    path = region_path(tmp_path, "k")
    with process(CREATE, path) as child:
        assert removed(tmp_path) == []
        child.kill()
        child.wait()
        assert names(tmp_path) == ["ultrafast-k", "ultrafast-k.bell.1"]
        assert removed(tmp_path) == ["ultrafast-k", "ultrafast-k.bell.1"]


def test_looking_takes_no_living_system_its_lock(tmp_path: Path) -> None:
    path = region_path(tmp_path, "x")
    with Region.create(path, SIZES) as region:
        assert removed(tmp_path) == []
        with Region.attach(path) as other:
            assert region.alive(other.slot) and other.alive(region.slot)
            assert removed(tmp_path) == []
            assert region.alive(other.slot) and other.alive(region.slot)


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    dead_region(tmp_path / "elsewhere")
    (tmp_path / "ultrafast-link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "ultrafast-folder").mkdir()
    (tmp_path / "ultrafast-").touch()
    (tmp_path / "ultrafast-ä").touch()
    (tmp_path / "other-file").touch()
    os.mkfifo(tmp_path / "pipe.bell.0")
    before = names(tmp_path)
    assert removed(tmp_path) == []
    assert names(tmp_path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's file")
def test_another_users_region_stays(tmp_path: Path) -> None:
    path = region_path(tmp_path, "theirs")
    dead_region(path)
    os.mkfifo(tmp_path / "ultrafast-gone.bell.0")
    for name in names(tmp_path):
        os.chown(tmp_path / name, 12345, 12345)
    assert removed(tmp_path) == []
    assert len(names(tmp_path)) == 2


def test_a_bell_without_its_region_goes_unless_somebody_listens(tmp_path: Path) -> None:
    for number in (0, 1):
        os.mkfifo(tmp_path / f"ultrafast-gone.bell.{number}")
    listener = os.open(tmp_path / "ultrafast-gone.bell.1", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert removed(tmp_path) == ["ultrafast-gone.bell.0"]
    finally:
        os.close(listener)
    assert removed(tmp_path) == ["ultrafast-gone.bell.1"]


def test_unfinished_regions(tmp_path: Path) -> None:
    dead, alive = dead_pid(), os.getpid()
    fresh = {pid: tmp_path / f".ultrafast-a.{pid}.0a1b.tmp" for pid in (dead, alive)}
    old = tmp_path / f".ultrafast-b.{alive}.0a1b.tmp"
    huge = tmp_path / ".ultrafast-c.9999999999.x.tmp"
    other = tmp_path / f".ultrafast-a.{dead}.tmp"
    for path in (*fresh.values(), old, huge, other):
        path.touch()
    hour_ago = time.time() - 3600
    os.utime(old, (hour_ago, hour_ago))
    assert removed(tmp_path) == sorted([fresh[dead].name, old.name, huge.name])
    assert names(tmp_path) == sorted([fresh[alive].name, other.name])


def test_an_unfinished_region_that_is_locked_stays(tmp_path: Path) -> None:
    temp = tmp_path / f".ultrafast-a.{dead_pid()}.0a1b.tmp"
    region = Region.create(tmp_path / "ultrafast-a", SIZES)
    os.link(tmp_path / "ultrafast-a", temp)  # as it is just before it is published
    assert removed(tmp_path) == []
    region.close()
    assert removed(tmp_path) == [temp.name, "ultrafast-a"]


def test_two_removers_agree(tmp_path: Path) -> None:
    for number in range(20):
        dead_region(region_path(tmp_path, f"r{number}"))
    with process(REMOVE, str(tmp_path)) as one, process(REMOVE, str(tmp_path)) as two:
        counts = []
        for child in (one, two):
            assert child.stdin is not None
            child.stdin.write(b"\n")
            child.stdin.flush()
        for child in (one, two):
            assert child.stdout is not None
            counts.append(int(child.stdout.readline()))
    assert sum(counts) == 20 and names(tmp_path) == []
