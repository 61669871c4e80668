import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, final

from ultrafast.core._delivery import Handover
from ultrafast.core._message import Message
from ultrafast.core._receiver import Receiver
from ultrafast.core._requests import Requests
from ultrafast.core._sender import Sender
from ultrafast.core._steps import Steps

@final
class Asker:
    def __new__(
        cls,
        sender: Sender,
        receiver: Receiver,
        handover: Handover,
        requests: Requests,
        empty: Callable[[], object],
        went_wrong: Callable[[BaseException], object],
        read: Callable[[Message], Any],
        answers: int,
        latency: int,
    ) -> Asker: ...
    def run_on(self, loop: asyncio.AbstractEventLoop, context: Context) -> None: ...
    def wait_by(
        self,
        wait: Callable[..., Coroutine[Any, Any, Any]],
        again: Callable[..., Coroutine[Any, Any, Any]],
    ) -> None: ...
    def request(
        self,
        sender: int,
        receiver: int,
        body: Any,
        priority: str | int,
        timeout_s: float,
        extra: int = 0,
        kind: int = 0,
    ) -> Asking: ...
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
    ) -> tuple[bool, Any, int] | None: ...
    def value(self, answer: Message, asked_ns: int) -> Any: ...

@final
class Asking(Steps): ...
