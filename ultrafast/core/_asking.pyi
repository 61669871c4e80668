import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any, final

from ultrafast.core._delivery import Handover
from ultrafast.core._message import Message
from ultrafast.core._receiver import Receiver
from ultrafast.core._requests import Requests
from ultrafast.core._sender import Sender

@final
class Asker:
    @property
    def number(self) -> int: ...
    def __new__(
        cls,
        sender: Sender,
        receiver: Receiver,
        handover: Handover,
        requests: Requests,
        soon: Callable[[], object],
        went_wrong: Callable[[BaseException], object],
        read: Callable[[Message], Any],
        decode: Callable[[Message], Any],
        answers: int,
        plain: int,
        latency: int,
    ) -> Asker: ...
    def run_on(self, loop: asyncio.AbstractEventLoop, context: Context) -> None: ...
    def ask(
        self,
        sender: int,
        receiver: int,
        body: Any,
        priority: str | int,
        timeout_s: float,
        extra: int = 0,
        kind: int = 0,
        sent_ns: int = 0,
    ) -> Message | asyncio.Future[Message] | None: ...
    def value(self, answer: Message, asked_ns: int) -> Any: ...
