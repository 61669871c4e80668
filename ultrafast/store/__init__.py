"""The shared store: values by namespace and key, for all processes of a system.

Stands on the doors, the codec and the errors. `store` is the store, `namespace` a part of it as a
mapping.
"""

from __future__ import annotations

from ultrafast.store.figures import NamespaceStatistics, StoreStatistics
from ultrafast.store.namespace import Namespace
from ultrafast.store.store import UltraFastMemoryStore

__all__ = ["Namespace", "NamespaceStatistics", "StoreStatistics", "UltraFastMemoryStore"]
