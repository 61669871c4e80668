"""One namespace of the store as a mapping: `Namespace`.

Stands on the store's methods, and adds nothing to them but Python's words for them.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ultrafast.store.store import UltraFastMemoryStore

__all__ = ["Namespace"]

_ABSENT = object()


class Namespace(MutableMapping[str, Any]):
    """The entries of one namespace, as a mapping that all processes share.

    Parameters
    ----------
    store : UltraFastMemoryStore
    name : str

    Notes
    -----
    Threads: any. Waits: never. Others write at the same time: what `in` found may be gone when it
    is read, and iteration sees what stays throughout, once. `len` is one pass over the store.
    """

    __slots__ = ("_name", "_store")

    def __init__(self, store: UltraFastMemoryStore, name: str) -> None:
        self._store = store
        self._name = name

    @property
    def name(self) -> str:
        """The namespace's name."""
        return self._name

    def __getitem__(self, key: str) -> Any:
        value = self._store.get(self._name, key, _ABSENT)
        if value is _ABSENT:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self._store.set(self._name, key, value)

    def __delitem__(self, key: str) -> None:
        if not self._store.delete(self._name, key):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._store.contains(self._name, key)

    def __iter__(self) -> Iterator[str]:
        return self._store.keys(self._name)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Namespace({self._name!r})"
