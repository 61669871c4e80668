from collections.abc import Callable, Iterator
from typing import TypeAlias, final

from typing_extensions import Buffer

from ultrafast.core._region import Region
from ultrafast.core.answers import BlockCount, Entry

ANY: int
NEW: int
STAMP: int
KEY_BYTES_MAX: int
NONE: int
TRUE: int
FALSE: int
INT: int
FLOAT: int
STR: int
BYTES: int
FIRST_CODEC_TAG: int

Native: TypeAlias = bool | int | float | str | bytes | None

@final
class Table:
    decoder: Callable[[int, bytes], object] | None
    quick_decoder: Callable[[bytes], object] | None
    def __new__(cls, region: Region) -> Table: ...
    @property
    def region(self) -> Region: ...
    def get(self, space: str, key: str, default: object = None) -> object: ...
    def get_entry(self, space: str, key: str) -> Entry | None: ...
    def contains(self, space: str, key: str) -> bool: ...
    def set(self, space: str, key: str, value: Native, expires_ns: int = 0) -> bool: ...
    def set_encoded(
        self,
        space: str,
        key: str,
        data: Buffer,
        tag: int,
        expires_ns: int = 0,
        mode: int = ...,
        stamp: int = 0,
    ) -> tuple[int, int]: ...
    def compare_and_set(
        self, space: str, key: str, value: Native, stamp: int, expires_ns: int = 0
    ) -> tuple[int, int]: ...
    def delete(self, space: str, key: str, stamp: int = 0) -> bool: ...
    def scan(
        self, cursor: int, space: str | None = None, max: int = 256
    ) -> tuple[int | None, list[tuple[str, str]]]: ...
    def expired(
        self, cursor: int, max: int = 256
    ) -> tuple[int | None, list[tuple[str, str, int]]]: ...
    def keys(self, space: str | None = None) -> Iterator[tuple[str, str]]: ...
    def count_in(self, space: str) -> int: ...
    def count(self) -> int: ...
    def blocks(self) -> list[BlockCount]: ...
    def noop(self, space: str, key: str, default: object = None) -> object: ...
