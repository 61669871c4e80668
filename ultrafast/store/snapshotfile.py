"""The file that snapshots are kept in: one process has it at a time, others may read it.

An LMDB file whose keys are `ultrafast` (the format) and the numbers of segments; a segment is a log
of records (ultrafast.core._snapshot), later ones over earlier ones. A transaction adds the segments
of one snapshot and takes away those that are no longer needed, all or nothing.

A file is verified before LMDB may map it, for LMDB trusts what it maps. Stands on lmdb and the
doors. Does not know what is in a record, nor when to write.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import lmdb
import msgspec
from lmdb import verify as lmdb_verify

from ultrafast.errors import (
    SnapshotDamaged,
    SnapshotError,
    SnapshotForeign,
    SnapshotInUse,
    SnapshotNoSpace,
    SnapshotReadOnly,
)

__all__ = [
    "FORMAT",
    "SnapshotFile",
    "check_structure",
    "in_use",
    "read_segments",
    "sync_folder",
    "typed",
]

FORMAT = 1

_KIND = "ultrafast store snapshot"
_FORMAT_KEY = b"ultrafast"
_SEGMENT = b"s"
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_META_PAGE, _META_NUMBER = 40, 144  # in LMDB's first two pages: their size, their transaction
_META_PAGE_MAX = 1 << 16
_SHORT_BYTES = 64 << 20  # less room than this is what a short write ran out of
_VERIFY_TRIES = 10  # a running system may commit while its file is being verified

_held: weakref.WeakSet[SnapshotFile] = weakref.WeakSet()


def _in_forked_child() -> None:
    for file in list(_held):
        file.forget()


os.register_at_fork(after_in_child=_in_forked_child)


class _Format(msgspec.Struct, frozen=True):
    kind: str
    format: int


def typed(error: BaseException, path: str) -> SnapshotError:
    """The error of ours for one of LMDB's, or of the operating system's."""
    if isinstance(error, SnapshotError):
        return error
    code = getattr(error, "errno", None) or getattr(error, "code", 0)
    text = os.strerror(code) if isinstance(code, int) and code > 0 else str(error)
    kind: type[SnapshotError] = SnapshotError
    if isinstance(error, lmdb.MapFullError):
        kind = SnapshotNoSpace
        text = (
            "the file has the size it may have; raise persist_file_size, or delete what is not "
            "needed"
        )
    elif code in _NO_SPACE or (code == errno.EIO and _is_out_of_room(path)):
        kind = SnapshotNoSpace
        text += "; make room, or choose another persist_path"
    elif code in _READ_ONLY or isinstance(error, lmdb.ReadonlyError | PermissionError):
        kind = SnapshotReadOnly
        text += "; it and its folder must be writable for this user"
    elif isinstance(
        error, lmdb.CorruptedError | lmdb.PageNotFoundError | lmdb.PanicError | lmdb.InvalidError
    ):
        kind = SnapshotDamaged
        text = str(error)
    elif isinstance(error, lmdb.VersionMismatchError):
        kind = SnapshotForeign
        text = f"{error}: another version of LMDB made it"
    elif isinstance(error, FileNotFoundError):
        text += "; its folder must be there"
    failure = kind(f"snapshot {path}: {text}")
    if isinstance(code, int) and code > 0:
        failure.errno = code
    return failure


def _is_out_of_room(path: str) -> bool:
    """Whether a write that came back short, which LMDB calls an error of the disk, had no room."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    try:
        room = os.statvfs(os.path.dirname(os.path.abspath(path)))
        size = os.path.getsize(path)
    except OSError:
        return False
    limited = limit != resource.RLIM_INFINITY and size + _SHORT_BYTES > limit
    return limited or room.f_bavail * room.f_frsize < _SHORT_BYTES


def check_structure(path: str) -> list[str]:
    """What is wrong with the structure of a file, as sentences; nothing of its records is read.

    Raises
    ------
    SnapshotForeign
        It is no LMDB file, or one for other machines.
    SnapshotError
        It can't be read.
    """
    try:
        problems = list(lmdb_verify.verify(path, False))  # type: ignore[no-untyped-call]  # it has no types
        return problems or _check_order(path)
    except OSError as error:
        raise typed(error, path) from error
    except Exception as error:  # noqa: BLE001 - a file it can't read to its end is damaged
        with open(path, "rb") as file:
            head = file.read(64)
        if isinstance(error, lmdb_verify.VerifyError) and not _is_lmdb(head):
            raise SnapshotForeign(
                f"snapshot {path}: the file is something else ({error}); choose another "
                "persist_path, or move it away"
            ) from None
        return [f"{type(error).__name__}: {error}"]


def _check_order(path: str) -> list[str]:
    """Whether the two pages that say where all is were written one after the other.

    Each transaction writes the older of them, so their numbers differ by one. By more: one of the
    numbers is damaged, and LMDB may take the state before the last, whose pages are used anew.
    """
    with open(path, "rb") as file:
        data = file.read(2 * _META_PAGE_MAX)
    page = int.from_bytes(data[_META_PAGE : _META_PAGE + 4], sys.byteorder)
    numbers = [
        int.from_bytes(data[at + _META_NUMBER : at + _META_NUMBER + 8], sys.byteorder)
        for at in (0, page)
    ]
    if abs(numbers[0] - numbers[1]) <= 1:
        return []
    return [f"its two heads are of transactions {numbers[0]} and {numbers[1]}, not successive"]


def _is_lmdb(head: bytes) -> bool:
    return b"\xde\xc0\xef\xbe" in (head[16:20], head[24:28])


def sync_folder(path: str) -> None:
    """Make the name of a file durable: a power cut may else take it, and the file with it."""
    folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def in_use(path: str) -> bool:
    """Whether some process has the file to itself just now."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise typed(error, path) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _key(segment: int) -> bytes:
    return _SEGMENT + segment.to_bytes(8, "big")


def _check_format(path: str, value: bytes | memoryview | None, entries: int) -> bool:
    """Whether the file has a format; raises where it is not one of ours."""
    if value is None and entries == 0:
        return False
    if value is None:
        raise SnapshotForeign(
            f"snapshot {path}: an LMDB file of something else, with {entries} keys; choose another "
            "persist_path, or move it away"
        )
    try:
        found = msgspec.json.decode(bytes(value), type=_Format)
    except msgspec.MsgspecError as error:
        raise SnapshotForeign(
            f"snapshot {path}: says of itself what can't be read: {error}"
        ) from None
    if found.kind != _KIND or found.format != FORMAT:
        raise SnapshotForeign(
            f"snapshot {path}: is a {found.kind!r} of format {found.format}; this version knows "
            f"{_KIND!r} of format {FORMAT}"
        )
    return True


@contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except (lmdb.Error, OSError) as error:
        raise typed(error, path) from error


def _iterate(
    txn: lmdb.Transaction[memoryview],
) -> Iterator[tuple[int, memoryview]]:
    for key, value in txn.cursor():
        if len(key) == 9 and bytes(key[:1]) == _SEGMENT:
            yield int.from_bytes(key[1:], "big"), value


@contextmanager
def read_segments(path: str) -> Iterator[list[tuple[int, memoryview]]]:
    """The segments of a file, oldest first, while others may go on writing to it.

    Yields
    ------
    list of (int, memoryview)
        Good until the context ends.

    Raises
    ------
    SnapshotForeign, SnapshotDamaged, SnapshotError
        What keeps it from being read; of a damaged structure, `salvage` makes the best.
    """
    if not os.path.exists(path):
        raise SnapshotError(f"snapshot {path}: there is no such file")
    with _translated(path):
        problems = check_structure(path)
        if problems and in_use(path):
            problems = _check_beside_writer(path)
        if problems:
            raise SnapshotDamaged(_damage(path, problems))
        # A reader's own lock file is written where that is possible; a file on a read-only medium
        # has no writer that could be met.
        lock = os.access(os.path.dirname(os.path.abspath(path)), os.W_OK)
        env = lmdb.open(path, subdir=False, readonly=True, lock=lock, max_readers=126, mode=0o600)
        try:
            with env.begin(buffers=True) as txn:
                _check_format(path, txn.get(_FORMAT_KEY), txn.stat()["entries"])
                segments = list(_iterate(txn))
                try:
                    yield segments
                finally:
                    for _, each in segments:
                        each.release()
                    segments.clear()
        finally:
            env.close()


def _check_beside_writer(path: str) -> list[str]:
    """As `check_structure`: a transaction of our own keeps what is looked at in place."""
    problems: list[str] = []
    with lmdb.open(path, subdir=False, readonly=True, max_readers=126) as env, env.begin():
        for _ in range(_VERIFY_TRIES):
            problems = check_structure(path)
            if not problems:
                break
    return problems


def _damage(path: str, problems: list[str]) -> str:
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return f"snapshot {path}: its structure is damaged: {problems[0]}{more}"


class SnapshotFile:
    """The file, for the one process that may write it.

    Parameters
    ----------
    path : str
        Made when it is not there.
    size_max : int
        Bytes that it may grow to.

    Attributes
    ----------
    path : str
    sizes : dict of int to int
        Number -> bytes of its segments.

    Raises
    ------
    SnapshotInUse
        Another process has it.
    SnapshotForeign, SnapshotReadOnly, SnapshotNoSpace, SnapshotDamaged, SnapshotError
        It can't be used; nothing in it has been changed.

    Notes
    -----
    Threads: one at a time. In a forked child, it is the parent's, and every use raises.
    """

    def __init__(self, path: str, *, size_max: int) -> None:
        self.path = path
        self.sizes: dict[int, int] = {}
        self._env: lmdb.Environment | None = None
        self._fd = -1
        try:
            self._fd = self._take()
            self._inode = os.fstat(self._fd).st_ino
            with _translated(path):
                self._open(size_max)
        except BaseException:
            self.close()
            raise
        _held.add(self)

    def _take(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise typed(error, self.path) from error
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise SnapshotForeign(f"snapshot {self.path}: is no plain file")
            # A lock of the kernel's: it goes with its process, however that ends.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise SnapshotInUse(
                f"snapshot {self.path}: another system, or a command, has it; end that, or choose "
                "another persist_path"
            ) from None
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _open(self, size_max: int) -> None:
        size = os.fstat(self._fd).st_size
        if size > 0 and (problems := check_structure(self.path)):
            raise SnapshotDamaged(_damage(self.path, problems))
        self._env = lmdb.open(
            self.path,
            subdir=False,
            map_size=max(size_max, size),
            mode=0o600,
            max_readers=126,
            max_spare_txns=1,
        )
        with self._env.begin(buffers=True) as txn:
            known = _check_format(self.path, txn.get(_FORMAT_KEY), txn.stat()["entries"])
            self.sizes = {number: len(each) for number, each in _iterate(txn)}
        if not known:
            with self._env.begin(write=True) as txn:
                txn.put(_FORMAT_KEY, msgspec.json.encode(_Format(_KIND, FORMAT)))
            sync_folder(self.path)

    def check(self) -> None:
        """Raise when the path is another file by now: what is written would be lost."""
        try:
            same = os.stat(self.path, follow_symlinks=False).st_ino == self._inode
        except OSError:
            same = False
        if not same:
            raise SnapshotError(
                f"snapshot {self.path}: the file was taken away or replaced while it was in use"
            )

    @contextmanager
    def segments(self) -> Iterator[list[tuple[int, memoryview]]]:
        """The segments, oldest first, good until the context ends."""
        assert self._env is not None
        with _translated(self.path), self._env.begin(buffers=True) as txn:
            found = list(_iterate(txn))
            try:
                yield found
            finally:
                for _, each in found:
                    each.release()
                found.clear()

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """One transaction: kept as a whole when the context ends, or not at all.

        Raises
        ------
        SnapshotError
            As the constructor; nothing is kept.
        """
        assert self._env is not None
        with _translated(self.path):
            self.check()
            with self._env.begin(write=True) as txn:
                writing = Writing(txn, dict(self.sizes))
                yield writing
        self.sizes = writing.sizes

    def forget(self) -> None:
        """In a forked child: let go of the parent's lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._env = None

    def close(self) -> None:
        """Let go of the file. May be called twice."""
        env, self._env = self._env, None
        if env is not None:
            with suppress(lmdb.Error):
                env.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Writing:
    """A transaction under way.

    Parameters
    ----------
    txn : lmdb.Transaction
    sizes : dict of int to int
        As `SnapshotFile.sizes`; changed as segments are put and dropped.
    """

    def __init__(self, txn: lmdb.Transaction[bytes], sizes: dict[int, int]) -> None:
        self._txn = txn
        self.sizes = sizes

    def put(self, segment: int, data: bytes | bytearray | memoryview) -> None:
        """Add a segment."""
        self._txn.put(_key(segment), data, append=False)
        self.sizes[segment] = len(data)

    def drop(self, below: int) -> int:
        """Take away the segments below this one: how many they were."""
        gone = [segment for segment in self.sizes if segment < below]
        for segment in gone:
            self._txn.delete(_key(segment))
            del self.sizes[segment]
        return len(gone)
