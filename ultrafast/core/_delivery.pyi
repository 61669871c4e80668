from collections.abc import Callable, Container, Mapping
from typing import Any, final

from typing_extensions import Buffer

from ultrafast.core._agents import Agents
from ultrafast.core._bodies import Bodies
from ultrafast.core._message import Message
from ultrafast.core._metrics import Metrics
from ultrafast.core._queue import Queues
from ultrafast.core._receiver import Receiver
from ultrafast.core._region import Region
from ultrafast.core._requests import Requests
from ultrafast.core._walkers import Walkers

class Seat:
    agent: Any
    busy: bool
    stopping: bool
    running: int
    limit: int
    mailbox: Any
    markers: Any
    subscriptions: Any
    timers: Any
    fallen: Any
    def __init__(self, agent: Any, id: int) -> None: ...
    @property
    def id(self) -> int: ...
    @property
    def slot(self) -> int: ...

class Incoming:
    @property
    def sender(self) -> int: ...
    @property
    def receiver(self) -> int: ...
    @property
    def id(self) -> int: ...
    @property
    def priority(self) -> int: ...
    @property
    def redelivered(self) -> bool: ...
    @property
    def sent_ns(self) -> int: ...
    @property
    def wants_answer(self) -> bool: ...
    @property
    def trace(self) -> bytes | None: ...
    @property
    def body(self) -> Any: ...

@final
class Handover:
    def __new__(
        cls,
        agents: Agents,
        metrics: Metrics,
        other: Callable[[Message], object],
        counters: tuple[int, int],
        histograms: tuple[int, int],
    ) -> Handover: ...
    @property
    def region(self) -> Region: ...
    @property
    def waiting(self) -> int: ...
    def seat(
        self,
        seats: Mapping[int, Seat],
        incoming: type[Incoming],
        kind: int,
        raw: int,
        decode: Callable[[memoryview, int], Any],
        ended: Callable[[Any, Message, Any], object],
        raised: Callable[[Any, Message, BaseException], object],
    ) -> None: ...
    stopped: bool
    @property
    def filled_ns(self) -> int: ...
    def answer_by(
        self,
        queues: Queues,
        requests: Requests,
        bodies: Bodies,
        kinds: tuple[int, int],
        home: int,
        lane: int,
        replies: int,
    ) -> None: ...
    def walk_by(self, walkers: Walkers, rest: Callable[[Any], object]) -> None: ...
    def run(self, receiver: Receiver, until_ns: int) -> bool: ...
    def incoming(self, message: Message) -> Any: ...
    def has_for(self, ids: Container[int]) -> bool: ...
    def call_roll(self, ids: Buffer) -> tuple[int, list[int]]: ...
    def load(self, batch: list[Message]) -> None: ...
    def handle(self, seat: Seat, message: Message) -> bool: ...
    def take_back(self) -> list[Message]: ...
    def hand_out(self, until_ns: int) -> bool: ...
