"""Files stay below their root, whatever the path says, and are never half written."""

import asyncio
import os
import threading

import pytest

from ultrafast.errors import FileOutsideRoot, UltrafastError
from ultrafast.executor.files import AsyncFileManager


@pytest.fixture
def root(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    return tmp_path / "root"


@pytest.mark.parametrize("durable", [False, True])
def test_what_is_written_is_read(root, durable):
    async def main():
        files = AsyncFileManager(root, durable=durable)
        assert await files.write("a/b/c.txt", "grüße") == 7
        assert await files.read_text("a/b/c.txt") == "grüße"
        assert await files.write("a/b/c.txt", b"\x00\xff") == 2
        assert await files.read_bytes(root / "a" / "b" / "c.txt") == b"\x00\xff"
        assert await files.append("log", "one\n") == 4
        await files.append("log", b"two\n")
        assert await files.read_text("./log") == "one\ntwo\n"
        assert await files.names() == ["a", "log"]
        assert await files.names("a/b") == ["c.txt"]
        assert await files.exists("a/b")
        assert not await files.exists("a/x/y")
        assert await files.delete("log")
        assert not await files.delete("log")
        assert not await files.delete("no/such")
        counts = files.statistics()
        assert (counts.reads, counts.writes, counts.refused) == (3, 4, 0)
        assert (counts.bytes_read, counts.bytes_written) == (17, 17)

    asyncio.run(main())


@pytest.mark.parametrize(
    "path", ["../outside/secret", "a/../../outside/secret", "/etc/passwd", ".."]
)
@pytest.mark.parametrize("verb", ["read_bytes", "write", "append", "delete", "exists", "names"])
def test_a_path_that_leads_out_is_refused(root, path, verb):
    async def main():
        files = AsyncFileManager(root)
        call = getattr(files, verb)
        with pytest.raises(FileOutsideRoot, match="leads out"):
            await (call(path, "x") if verb in ("write", "append") else call(path))
        assert files.statistics().refused == 1

    asyncio.run(main())
    assert (root.parent / "outside" / "secret").read_text() == "secret"


@pytest.mark.parametrize("path", ["link", "door/secret", "deep/door/secret"])
@pytest.mark.parametrize("verb", ["read_bytes", "write", "append"])
def test_a_link_is_refused_wherever_it_stands(root, path, verb):
    async def main():
        files = AsyncFileManager(root)
        outside = root.parent / "outside"
        (root / "deep").mkdir()
        (root / "link").symlink_to(outside / "secret")
        (root / "door").symlink_to(outside)
        (root / "deep" / "door").symlink_to("../../outside")
        call = getattr(files, verb)
        with pytest.raises(FileOutsideRoot, match="symbolic link") as caught:
            await (call(path, "x") if verb != "read_bytes" else call(path))
        assert isinstance(caught.value, PermissionError)
        assert isinstance(caught.value, UltrafastError)
        assert files.statistics().refused == 1

    asyncio.run(main())
    assert (root.parent / "outside" / "secret").read_text() == "secret"
    assert sorted(os.listdir(root.parent / "outside")) == ["secret"]


def test_a_dangling_link_makes_no_file(root):
    async def main():
        files = AsyncFileManager(root)
        (root / "link").symlink_to(root.parent / "outside" / "new")
        for verb in (files.write, files.append):
            with pytest.raises(FileOutsideRoot):
                await verb("link", "x")

    asyncio.run(main())
    assert os.listdir(root.parent / "outside") == ["secret"]


def test_a_root_that_is_itself_a_link_is_followed_once(root):
    async def main():
        root.symlink_to(root.parent / "outside")
        files = AsyncFileManager(root)
        assert files.root == str(root.parent / "outside")
        assert await files.read_text("secret") == "secret"

    asyncio.run(main())


def test_what_is_not_a_file_is_refused_and_holds_no_thread(root):
    async def main():
        files = AsyncFileManager(root)
        os.mkfifo(root / "pipe")
        (root / "dir").mkdir()
        for path, error in (
            ("pipe", OSError),
            ("dir", IsADirectoryError),
            ("no", FileNotFoundError),
        ):
            with pytest.raises(error, match=path):
                await files.read_bytes(path)
        with pytest.raises(OSError, match="pipe"):
            await files.append("pipe", "x")
        with pytest.raises(NotADirectoryError, match="pipe"):
            await files.read_bytes("pipe/below")
        with pytest.raises(IsADirectoryError):
            await files.write(".", "x")
        with pytest.raises(FileOutsideRoot):
            await files.write("a\0b", "x")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(50):
            with pytest.raises(IsADirectoryError):
                await files.read_bytes("dir")
        assert len(os.listdir("/proc/self/fd")) <= before

    asyncio.run(main())


def test_a_reader_sees_the_old_or_the_new_content_entire(root):
    async def main():
        files = AsyncFileManager(root)
        contents = {bytes([n]) * 100_000 for n in range(8)}
        await files.write("f", next(iter(contents)))

        async def writing():
            for content in contents:
                await files.write("f", content)

        async def reading():
            for _ in range(40):
                assert await files.read_bytes("f") in contents

        await asyncio.gather(writing(), writing(), reading(), reading())
        assert await files.names() == ["f"]

    asyncio.run(main())


def test_a_failed_write_leaves_nothing_behind(root):
    async def main():
        files = AsyncFileManager(root)
        (root / "taken").mkdir()
        with pytest.raises(IsADirectoryError):
            await files.write("taken", "x")
        assert await files.names() == ["taken"]

    asyncio.run(main())


def test_no_more_threads_than_allowed_are_in_use(root, monkeypatch):
    async def main():
        files = AsyncFileManager(root, max_concurrency=2)
        inside, peak, lock, full = 0, 0, threading.Lock(), threading.Event()

        def counted(parts):
            nonlocal inside, peak
            with lock:
                inside += 1
                peak = max(peak, inside)
                if inside == 2:
                    full.set()
            full.wait(30)  # both places are taken before anybody goes on
            with lock:
                inside -= 1
            return b""

        monkeypatch.setattr(files, "_read", counted)
        await asyncio.gather(*(files.read_bytes(f"f{n}") for n in range(6)))
        assert peak == 2

    asyncio.run(main())
