from collections.abc import Callable, Sequence
from typing import Any

from ultrafast.core._correlations import Correlations
from ultrafast.core._loan import Loan
from ultrafast.core._metrics import Metrics
from ultrafast.core._queue import Queues

class PlainSender:
    @property
    def index(self) -> int: ...
    @property
    def opening(self) -> int: ...
    def put_nowait(
        self,
        body: Any,
        *,
        priority: str | int = "normal",
        ttl_s: float | None = None,
        sender: int | None = None,
    ) -> bool: ...
    def put_blocking(
        self,
        body: Any,
        timeout_s: float | None = None,
        *,
        priority: str | int = "normal",
        ttl_s: float | None = None,
        sender: int | None = None,
    ) -> bool: ...
    def put_many_nowait(
        self,
        bodies: Sequence[Any],
        *,
        priority: str | int = "normal",
        ttl_s: float | None = None,
        sender: int | None = None,
    ) -> int: ...
    def put_many_blocking(
        self,
        bodies: Sequence[Any],
        timeout_s: float | None = None,
        *,
        priority: str | int = "normal",
        ttl_s: float | None = None,
        sender: int | None = None,
    ) -> int: ...
    def loan(self, nbytes: int, timeout_s: float | None = 0.0) -> Loan: ...
    def _open(
        self,
        queues: Queues,
        index: int,
        metrics: Metrics,
        numbers: Correlations,
        *,
        lane: int,
        kind: int,
        raw: int,
        sent: int,
        refused: int,
        trace: Callable[[], bytes | None],
        view: int = 0,
        spin_us: float | None = None,
        opening: int = 0,
    ) -> None: ...
    def _check_size(self, count: int) -> None: ...
    def _post(
        self,
        payload: Any,
        codec: int,
        lane: int,
        ttl_ms: int,
        sender: int,
        timeout_s: float | None,
    ) -> bool: ...
    def _post_many(
        self,
        payloads: tuple[Any, ...],
        codecs: tuple[int, ...] | None,
        lane: int,
        ttl_ms: int,
        sender: int,
        timeout_s: float | None,
    ) -> int: ...
    def _exhausted(self, nbytes: int) -> Exception: ...
    def _put(
        self,
        body: Any,
        priority: str | int,
        ttl_s: float | None,
        sender: int | None,
        timeout_s: float | None,
    ) -> bool: ...
    def _put_many(
        self,
        bodies: Sequence[Any],
        priority: str | int,
        ttl_s: float | None,
        sender: int | None,
        timeout_s: float | None,
    ) -> int: ...
