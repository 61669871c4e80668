from collections.abc import Sequence

from typing_extensions import Buffer

from ultrafast.core._loan import Loan
from ultrafast.core._message import Message
from ultrafast.core._queue import Queues

HOLDERS: int

def share(
    queues: Queues,
    targets: Sequence[tuple[int, int] | tuple[int, int, int]],
    lane: int,
    payload: Buffer | Loan,
    note: bytes,
    kind: int = 0,
    codec: int = 0,
    sender: int = 0,
    sent_ns: int = 0,
    extra: int = 0,
    trace: bytes | None = None,
) -> list[tuple[int, Message | None]]: ...
