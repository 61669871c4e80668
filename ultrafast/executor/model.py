"""What the executor asks of a model, so that any model can stand behind it.

Stands on msgspec and `tasks`. `claude.py` meets the Protocol with the real API, and
`ultrafast.testing.ScriptedModel` with answers written down beforehand.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from ultrafast.executor.tasks import Effort, Usage

__all__ = ["Completion", "Message", "Model", "ModelRequest", "Tool"]

# A tool is an async function; its name, signature and docstring are what the model is told.
Tool: TypeAlias = Callable[..., Awaitable[str]]


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: str


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides an answer, and how long to try for it.

    `timeout_s` bounds the whole call, retries and tools included. `tools` run in this process.
    """

    model: str
    messages: tuple[Message, ...]
    system: str = ""
    max_tokens: int = 1024
    effort: Effort | None = None
    timeout_s: float = 60.0
    max_retries: int = 2
    max_turns: int = 8
    tools: tuple[Tool, ...] = ()


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer: its text, who gave it, why it ended, what it took."""

    text: str
    model: str
    stop_reason: str | None = None
    usage: Usage = msgspec.field(default_factory=Usage)
    cost_usd: float | None = None
    attempts: int = 1
    request_id: str | None = None
    via: str = "api"


@runtime_checkable
class Model(Protocol):
    """Something that answers requests.

    Both calls raise errors of `ultrafast.errors` and may be cancelled at any await.
    """

    async def complete(self, request: ModelRequest) -> Completion:
        """Answer whole."""
        ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[str | Completion, None]:
        """Answer in pieces of text; the last item is the `Completion`."""
        ...
