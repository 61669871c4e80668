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
    """One turn of a conversation.

    Parameters
    ----------
    role : {"user", "assistant"}
    content : str
    """

    role: Literal["user", "assistant"]
    content: str


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides an answer, and how long to try for it.

    Parameters
    ----------
    model : str
    messages : tuple of Message
        The conversation so far; the last turn is the user's.
    system : str
        Who the model is to be.
    max_tokens : int
        Upper bound of the answer, thinking included.
    effort : str, optional
        How much to think; the model's own default when not given.
    timeout_s : float
        Bound of the whole call, retries and tools included.
    max_retries : int
        Further attempts after a passing failure.
    max_turns : int
        Requests at most when there are tools.
    tools : tuple of async functions
        What the model may call; they run in this process.
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
    """A whole answer.

    Parameters
    ----------
    text, model, stop_reason : str
        What was said, by whom, and why it ended there.
    usage : Usage
        Tokens, summed over all turns.
    cost_usd : float, optional
        None where no price is known or nothing was charged.
    attempts : int
        Requests made for it, retries and turns included.
    request_id : str, optional
        What the API's support asks for.
    via : str
        `api`, `loopback` or `scripted`.
    """

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
