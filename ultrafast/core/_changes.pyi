from collections.abc import Iterable
from typing import TypeAlias, final

from ultrafast.core._table import Table

Told: TypeAlias = tuple[str, str, int, bytes, int, int]

@final
class Changes:
    def __new__(cls, table: Table) -> Changes: ...
    def read(self, max: int = 256, buckets: int = 4096) -> list[tuple[int, Told | None]] | None: ...
    def look(
        self, max: int = 256, buckets: int = 4096
    ) -> list[tuple[int, tuple[str, str, int, int] | None]] | None: ...
    def forget(self, place: int) -> None: ...

def restore(table: Table, entries: Iterable[tuple[str, str, int, bytes, int]]) -> int: ...
