"""`AsyncFileManager`: files under one directory, without blocking the loop and without leaving it.

Stands on anyio's threads and on file descriptors of directories. A path is walked one component at
a time and symbolic links are refused, so there is no moment between a check and a use in which
somebody could exchange a directory for a link. It does not watch, lock, or list recursively.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TypeVar

import anyio
import anyio.to_thread
import msgspec

from ultrafast.errors import FileOutsideRoot

__all__ = ["AsyncFileManager", "FileStatistics"]

T = TypeVar("T")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class FileStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What an `AsyncFileManager` has done.

    Attributes
    ----------
    reads, writes, bytes_read, bytes_written : int
        Those that succeeded; an append is a write.
    refused : int
        Paths that led out of the root.
    """

    reads: int
    writes: int
    bytes_read: int
    bytes_written: int
    refused: int


class AsyncFileManager:
    """Reads and writes files under a root directory.

    Parameters
    ----------
    root : str or path
        Made if it is not there. It may itself be reached through links; nothing below it may.
    max_concurrency : int
        Operations at once, each in a thread.
    durable : bool
        Whether a write is on the disk when it returns (fsync of file and directory).

    Notes
    -----
    Threads: one event loop. Waits: every method, for the disk and for a thread. A cancelled write
    has happened entirely or not at all. Missing files raise FileNotFoundError, as `open` does.

    Examples
    --------
    >>> import asyncio, tempfile
    >>> async def main(root):
    ...     files = AsyncFileManager(root)
    ...     await files.write("notes/haiku.txt", "old pond")
    ...     return await files.read_text("notes/haiku.txt")
    >>> with tempfile.TemporaryDirectory() as root:
    ...     asyncio.run(main(root))
    'old pond'
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        max_concurrency: int = 16,
        durable: bool = False,
    ) -> None:
        if max_concurrency < 1:
            raise ValueError(f"max_concurrency is {max_concurrency}; it must be at least 1")
        os.makedirs(root, exist_ok=True)
        self._root = os.path.realpath(root)
        self._max_concurrency = max_concurrency
        self._limiter: anyio.CapacityLimiter | None = None
        self._durable = durable
        self._reads = self._writes = self._bytes_read = self._bytes_written = self._refused = 0

    @property
    def root(self) -> str:
        """The directory, links resolved."""
        return self._root

    async def read_bytes(self, path: str | os.PathLike[str]) -> bytes:
        """The whole content of a file."""
        data = await self._run(self._read, self._parts(path))
        self._reads += 1
        self._bytes_read += len(data)
        return data

    async def read_text(self, path: str | os.PathLike[str], encoding: str = "utf-8") -> str:
        """The whole content of a file, decoded."""
        return (await self.read_bytes(path)).decode(encoding)

    async def write(
        self, path: str | os.PathLike[str], data: bytes | str, encoding: str = "utf-8"
    ) -> int:
        """Replace a file at once: a reader sees the old content or the new, never a part.

        Directories on the way are made. Returns the number of bytes.
        """
        raw = data.encode(encoding) if isinstance(data, str) else data
        await self._run(self._replace, self._parts(path), raw)
        return self._wrote(raw)

    async def append(
        self, path: str | os.PathLike[str], data: bytes | str, encoding: str = "utf-8"
    ) -> int:
        """Add to the end of a file, made if need be. Returns the number of bytes."""
        raw = data.encode(encoding) if isinstance(data, str) else data
        await self._run(self._append, self._parts(path), raw)
        return self._wrote(raw)

    async def exists(self, path: str | os.PathLike[str]) -> bool:
        """Whether there is a file or directory of that name."""
        return await self._run(self._exists, self._parts(path))

    async def delete(self, path: str | os.PathLike[str]) -> bool:
        """Remove a file; whether there was one."""
        return await self._run(self._delete, self._parts(path))

    async def names(self, path: str | os.PathLike[str] = ".") -> list[str]:
        """Names in a directory, sorted."""
        return await self._run(self._names, self._parts(path, empty=True))

    def statistics(self) -> FileStatistics:
        """Counts so far; `refused` are paths that led outside."""
        return FileStatistics(
            reads=self._reads,
            writes=self._writes,
            bytes_read=self._bytes_read,
            bytes_written=self._bytes_written,
            refused=self._refused,
        )

    def _wrote(self, raw: bytes) -> int:
        self._writes += 1
        self._bytes_written += len(raw)
        return len(raw)

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._max_concurrency)
        try:
            return await anyio.to_thread.run_sync(work, *arguments, limiter=self._limiter)
        except FileOutsideRoot:
            self._refused += 1
            raise

    def _parts(self, path: str | os.PathLike[str], *, empty: bool = False) -> tuple[str, ...]:
        """The components below the root, or an error where the path's text already leads out."""
        text = os.fspath(path)
        pure = PurePosixPath(text)
        if pure.is_absolute() and pure.is_relative_to(self._root):
            pure = pure.relative_to(self._root)
        if pure.is_absolute() or ".." in pure.parts or "\0" in text:
            self._refused += 1
            raise FileOutsideRoot(
                f"{text!r} leads out of {self._root!r}; give a path below it, without '..'"
            )
        if not pure.parts and not empty:
            raise IsADirectoryError(errno.EISDIR, "this is the root directory itself", text)
        return pure.parts

    def _enter(self, parts: tuple[str, ...], *, make: bool = False) -> int:
        """A descriptor of the directory that the components name; the caller closes it."""
        here = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for done, name in enumerate(parts):
            try:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(name, dir_fd=here)
                below = os.open(name, _DIRECTORY, dir_fd=here)
            except OSError as error:
                raise self._explained(error, parts[: done + 1], here) from error
            finally:
                os.close(here)
            here = below
        return here

    def _explained(self, error: OSError, parts: tuple[str, ...], directory: int) -> OSError:
        """The error to raise: a refused link is said to be one."""
        if error.errno == errno.ELOOP or _is_link(parts[-1], directory):
            return self._link(parts)
        path = os.path.join(self._root, *parts)
        return type(error)(error.errno, error.strerror, path)

    def _open(self, parts: tuple[str, ...], flags: int, directory: int) -> int:
        """A descriptor of a regular file; anything else is refused."""
        try:
            # O_NONBLOCK: a named pipe must not hold the thread; it makes no difference to files.
            flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(parts[-1], flags, 0o666, dir_fd=directory)
        except OSError as error:
            raise self._explained(error, parts, directory) from error
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            os.close(descriptor)
            path = os.path.join(self._root, *parts)
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, "this is a directory", path)
            raise OSError(errno.EINVAL, "this is not a regular file", path)
        return descriptor

    def _read(self, parts: tuple[str, ...]) -> bytes:
        directory = self._enter(parts[:-1])
        try:
            descriptor = self._open(parts, os.O_RDONLY, directory)
        finally:
            os.close(directory)
        with open(descriptor, "rb") as file:
            return file.read()

    def _replace(self, parts: tuple[str, ...], data: bytes) -> None:
        directory = self._enter(parts[:-1], make=True)
        temporary = f".{parts[-1][:200]}.{secrets.token_hex(6)}.tmp"
        try:
            self._refuse_link(parts, directory)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            try:
                with open(os.open(temporary, flags, 0o666, dir_fd=directory), "wb") as file:
                    file.write(data)
                    if self._durable:
                        file.flush()
                        os.fsync(file.fileno())
                os.replace(temporary, parts[-1], src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=directory)
                raise
            if self._durable:
                os.fsync(directory)
        finally:
            os.close(directory)

    def _refuse_link(self, parts: tuple[str, ...], directory: int) -> None:
        """A rename would replace the link and not follow it; still, say that it was there."""
        if _is_link(parts[-1], directory):
            raise self._link(parts)

    def _link(self, parts: tuple[str, ...]) -> FileOutsideRoot:
        return FileOutsideRoot(
            f"{'/'.join(parts)!r} in {self._root!r} is a symbolic link; links are not followed here"
        )

    def _append(self, parts: tuple[str, ...], data: bytes) -> None:
        directory = self._enter(parts[:-1], make=True)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            descriptor = self._open(parts, flags, directory)
        finally:
            os.close(directory)
        with open(descriptor, "ab") as file:
            file.write(data)
            if self._durable:
                file.flush()
                os.fsync(file.fileno())

    def _exists(self, parts: tuple[str, ...]) -> bool:
        try:
            directory = self._enter(parts[:-1])
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            os.stat(parts[-1], dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        finally:
            os.close(directory)
        return True

    def _delete(self, parts: tuple[str, ...]) -> bool:
        try:
            directory = self._enter(parts[:-1])
        except FileNotFoundError:
            return False
        try:
            os.unlink(parts[-1], dir_fd=directory)
        except FileNotFoundError:
            return False
        finally:
            os.close(directory)
        return True

    def _names(self, parts: tuple[str, ...]) -> list[str]:
        directory = self._enter(parts)
        try:
            return sorted(os.listdir(directory))
        finally:
            os.close(directory)


def _is_link(name: str, directory: int) -> bool:
    try:
        os.readlink(name, dir_fd=directory)
    except OSError:
        return False
    return True
