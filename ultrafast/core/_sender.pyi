from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, final

from ultrafast.core._agents import Agents
from ultrafast.core._bodies import Bodies
from ultrafast.core._correlations import Correlations
from ultrafast.core._metrics import Metrics
from ultrafast.core._queue import Queues

ORIGIN_SHIFT: Final[int]

@final
class Sender:
    def __new__(
        cls,
        queues: Queues,
        agents: Agents,
        metrics: Metrics,
        numbers: Correlations,
        kind: int,
        raw: int,
        bodies: Bodies,
        lanes: dict[str, int],
        lane_of: Callable[[str | int], int],
        trace: Callable[[], bytes | None],
        counters: tuple[int, int],
    ) -> Sender: ...
    def again_by(self, again: Callable[..., Coroutine[Any, Any, bool]]) -> None: ...
    @property
    def queues(self) -> Queues: ...
    def send(
        self,
        sender: int,
        receiver: int,
        body: Any,
        priority: str | int,
        sent_ns: int = 0,
        extra: int = 0,
    ) -> bool: ...
    def send_many(
        self, sender: int, items: Sequence[tuple[int, Any]], priority: str | int
    ) -> list[bool]: ...

class Outlet:
    system: Any
    _host: Any
    _agent_id: int
    def __init__(
        self,
        sender: Sender,
        agent: int,
        ttl_ms_of: Callable[[float | None], int],
        system: Any = None,
        host: Any = None,
    ) -> None: ...
    def send(
        self,
        receiver: int,
        body: Any,
        *,
        priority: str | int = "normal",
        timeout_s: float = 0.0,
        ttl_s: float | None = None,
    ) -> Coroutine[Any, Any, bool]: ...
    def send_nowait(
        self,
        receiver: int,
        body: Any,
        *,
        priority: str | int = "normal",
        sent_ns: int = 0,
        ttl_s: float | None = None,
    ) -> bool: ...
    def send_many_nowait(
        self, items: Sequence[tuple[int, Any]], *, priority: str | int = "normal"
    ) -> list[bool]: ...
