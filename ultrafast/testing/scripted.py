"""A model whose answers are written down beforehand, for unit tests without a server.

Stands on `ultrafast.executor.model`. It meets the same Protocol as the real client, in process.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TypeAlias

from ultrafast.errors import ModelError
from ultrafast.executor.model import Completion, ModelRequest
from ultrafast.executor.tasks import Usage

__all__ = ["ScriptedModel"]

_Answer: TypeAlias = "str | Completion | Exception"
_Rule: TypeAlias = Callable[[ModelRequest], "_Answer | Awaitable[_Answer]"]


class ScriptedModel:
    """Answers requests from a list, or from a function of the request.

    Parameters
    ----------
    answers : iterable or callable
        Strings and `Completion`s are answered, exceptions are raised. A callable is given the
        request and may be async, so that a test can decide when it answers.

    Attributes
    ----------
    requests : list of ModelRequest
        What was asked, in order.

    Examples
    --------
    >>> import asyncio
    >>> from ultrafast.executor.model import Message
    >>> model = ScriptedModel(["four"])
    >>> asked = ModelRequest(model="any", messages=(Message("user", "2 + 2?"),))
    >>> asyncio.run(model.complete(asked)).text
    'four'
    """

    def __init__(self, answers: Iterable[_Answer] | _Rule) -> None:
        self.requests: list[ModelRequest] = []
        self._rule = answers if callable(answers) else None
        self._left = iter(()) if callable(answers) else iter(answers)

    async def complete(self, request: ModelRequest) -> Completion:
        """The next answer, whole.

        Raises
        ------
        ModelError
            When the list has come to its end.
        """
        self.requests.append(request)
        answer: _Answer
        if self._rule is not None:
            given = self._rule(request)
            answer = await given if isinstance(given, Awaitable) else given
        else:
            try:
                answer = next(self._left)
            except StopIteration:
                count = len(self.requests) - 1
                raise ModelError(f"the script held {count} answers and all were given") from None
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Completion):
            return answer
        words = sum(len(message.content.split()) for message in request.messages)
        return Completion(
            text=answer,
            model=request.model,
            stop_reason="end_turn",
            usage=Usage(input_tokens=words, output_tokens=len(answer.split())),
            via="scripted",
        )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[str | Completion, None]:
        """The next answer word by word, then the `Completion`."""
        completion = await self.complete(request)
        for piece in re.findall(r"\S+\s*|\s+", completion.text):
            yield piece
        yield completion
