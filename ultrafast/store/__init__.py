"""The shared store: values by namespace and key, for all processes of a system.

Stands on the doors, the codec and the errors. `store` is the store, `namespace` a part of it as a
mapping, `watch` tells of changes.
"""

from __future__ import annotations

from ultrafast.store.figures import NamespaceStatistics, StoreStatistics
from ultrafast.store.namespace import Namespace
from ultrafast.store.store import UltraFastMemoryStore
from ultrafast.store.watch import Change, Watch

__all__ = [
    "Change",
    "Namespace",
    "NamespaceStatistics",
    "StoreStatistics",
    "UltraFastMemoryStore",
    "Watch",
]
