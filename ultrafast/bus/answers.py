"""Errors on their way between processes: why a message has no answer, and what another reported.

Stands on the errors. Sends nothing.
"""

from __future__ import annotations

from ultrafast import errors
from ultrafast.bus.wire import Reason
from ultrafast.core import Message
from ultrafast.errors import (
    AgentError,
    AgentGone,
    MessageExpired,
    MessageNotRepeated,
    UltrafastError,
)

__all__ = ["error_of", "told_to_asker"]


def told_to_asker(message: Message, reason: Reason) -> Exception:
    """Why nobody will answer."""
    whom = f"agent {message.receiver:#x}"
    if reason == Reason.EXPIRED:
        return MessageExpired(
            f"{whom} did not come to the message within its {message.extra / 1000:g} s"
        )
    if reason in (Reason.POISONOUS, Reason.NOT_REPEATED):
        return MessageNotRepeated(
            f"the worker of {whom} died {message.attempt} times with the message, and it is not "
            "delivered again"
        )
    sentence = reason.name.lower().replace("_", " ")
    return AgentGone(f"{whom} got no message: {sentence}")


def error_of(name: str, sentence: str) -> Exception:
    """The error that another process reported: one of ours by class, any other as AgentError."""
    if name == "TimeoutError":
        return TimeoutError(sentence)
    known = getattr(errors, name, None)
    if isinstance(known, type) and issubclass(known, UltrafastError):
        return known(sentence)
    return AgentError(f"{name}: {sentence}")
