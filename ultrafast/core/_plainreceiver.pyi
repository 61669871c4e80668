from typing import Any

from ultrafast.core._message import Message
from ultrafast.core._metrics import Metrics
from ultrafast.core._queue import Queues
from ultrafast.core.answers import ItemInfo

SKIP: Any

class PlainReceiver:
    @property
    def redelivered(self) -> bool: ...
    def get(self, timeout_s: float | None = None) -> Any: ...
    def get_nowait(self, default: Any = None) -> Any: ...
    def get_many(
        self, max_items: int | None = None, timeout_s: float | None = None
    ) -> list[Any]: ...
    def get_many_nowait(self, max_items: int | None = None) -> list[Any]: ...
    def done(self) -> None: ...
    def infos(self) -> list[ItemInfo]: ...
    def _open(
        self,
        queues: Queues,
        index: int,
        metrics: Metrics,
        *,
        max_batch: int,
        kind: int,
        raw: int,
        delivered: int,
        redelivered: int,
        view: int = -1,
        spin_us: float | None = None,
        opening: int = 0,
    ) -> None: ...
    def _made(self, message: Message) -> Any: ...
    def _leave(self) -> list[Message]: ...
