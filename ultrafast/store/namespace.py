"""One namespace of the store as a mapping: `Namespace`.

Stands on the store and on the door that reads and writes one key of it. Adds what Python expects of
a mapping.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from ultrafast.core._store import NamespaceDoor

if TYPE_CHECKING:
    from ultrafast.store.figures import NamespaceStatistics
    from ultrafast.store.store import UltraFastMemoryStore

__all__ = ["Namespace"]


class Namespace(NamespaceDoor, MutableMapping[str, Any]):
    """The entries of one namespace, as a mapping that all processes share.

    Parameters
    ----------
    store : UltraFastMemoryStore
    name : str

    Attributes
    ----------
    name : str

    Notes
    -----
    Threads: any. Waits: never. Others write at the same time: what `in` found may be gone when it
    is read, and iteration sees what stays throughout, once. `len` is one pass over the store.
    """

    def __init__(self, store: UltraFastMemoryStore, name: str) -> None:
        self._store = store

    def __iter__(self) -> Iterator[str]:
        return self._store.keys(self.name)

    def popitem(self) -> tuple[str, Any]:
        """Take any entry away and give it to this caller alone. `KeyError` when there is none."""
        absent = object()
        for key in self:
            value = self._store.pop(self.name, key, absent)
            if value is not absent:
                return key, value
        raise KeyError(f"namespace {self.name!r} is empty")

    def pop(self, key: str, *default: Any) -> Any:
        """Take an entry away and give its value to this caller alone; `default` without one."""
        if len(default) > 1:
            raise TypeError(f"pop expected at most 2 arguments, got {1 + len(default)}")
        absent = object()
        value = self._store.pop(self.name, key, absent)
        if value is not absent:
            return value
        if not default:
            raise KeyError(key)
        return default[0]

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value; where there is none, `default`, which is then kept."""
        return self._store.set_default(self.name, key, default)

    def stats(self) -> NamespaceStatistics:
        """What it holds, and what is declared of it. Cost: one pass over the store."""
        return self._store.namespace_stats(self.name)

    def __repr__(self) -> str:
        return f"Namespace({self.name!r})"
