from collections.abc import Sequence
from typing import TypeAlias, final

from typing_extensions import Buffer

from ultrafast.core._loan import Loan
from ultrafast.core._region import Region
from ultrafast.core.answers import BlockCount

LANES: int
REDELIVERED: int
ONCE: int
TRACED: int
TRACE_BYTES: int

# payload, kind, codec, sender, receiver, correlation, sent_ns, reply_queue, flags, extra
Item: TypeAlias = tuple[Buffer | Loan, int, int, int, int, int, int, int, int, int]

@final
class Queues:
    def __new__(cls, region: Region) -> Queues: ...
    @property
    def region(self) -> Region: ...
    @property
    def count(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    def open(self, name: str) -> int: ...
    def find(self, name: str) -> int | None: ...
    def close(self, index: int) -> bool: ...
    def name(self, index: int) -> str | None: ...
    def length(self, index: int, lane: int | None = None) -> int: ...
    def loan(self, nbytes: int, traced: bool = False) -> Loan | None: ...
    def blocks(self, payload_bytes: int = 0) -> list[BlockCount]: ...
    def send(
        self,
        queue: int,
        lane: int,
        payload: Buffer | Loan,
        kind: int = 0,
        codec: int = 0,
        sender: int = 0,
        receiver: int = 0,
        correlation: int = 0,
        sent_ns: int = 0,
        reply_queue: int = 0,
        flags: int = 0,
        attempt: int = 0,
        extra: int = 0,
        trace: bytes | None = None,
    ) -> int: ...
    def send_batch(
        self, queue: int, lane: int, items: Sequence[Item], trace: bytes | None = None
    ) -> int: ...
    def echo(self, queue: int) -> bool: ...
    def noop(self, queue: int) -> bool: ...
