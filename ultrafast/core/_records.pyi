from typing import Final, TypeAlias

from typing_extensions import Buffer

HEAD_BYTES: Final[int]
MAGIC_BYTES: Final[bytes]
LEAST_ROOM: Final[int]

Item: TypeAlias = tuple[int, int, tuple[str, str] | None, int, int, int, bytes | None]

def crc(data: Buffer, before: int = 0) -> int: ...
def crc_plain(data: Buffer, before: int = 0) -> int: ...
def seal(
    out: Buffer,
    used: int,
    items: int,
    segment: int,
    floor: int,
    first: int,
    last: bool,
    made_ns: int,
) -> None: ...
def pack_entry(
    segment: int, offset: int, space: str, key: str, tag: int, data: bytes, expires_ns: int = 0
) -> bytes: ...
def read_head(data: Buffer) -> tuple[int, int, int, int, bool, int, int] | None: ...
def read_items(
    data: Buffer, segment: int, offset: int = ..., max: int = 1024
) -> tuple[list[Item], int | None]: ...
