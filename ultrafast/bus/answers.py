"""Answers on their way between processes: what an asker gets, a value or an error.

Stands on the codec and the errors. Sends nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ultrafast import codec, errors
from ultrafast.bus.wire import Kind, Reason
from ultrafast.core import Message
from ultrafast.errors import (
    AgentError,
    AgentGone,
    MessageExpired,
    MessageNotRepeated,
    UltrafastError,
)

__all__ = ["error_of", "payload_of", "told_to_asker", "value_of"]

_encoder = msgspec.msgpack.Encoder()


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


def payload_of(error: BaseException) -> bytes:
    """An error as it travels: the name of its class and its sentence."""
    return _encoder.encode([type(error).__name__, str(error)])


def value_of(answer: Message) -> Any:
    """What an answer says, which is released here; the error that it carries is raised."""
    try:
        if answer.kind == Kind.ERROR:
            name, sentence = msgspec.msgpack.decode(answer.payload)
            raise error_of(name, sentence)
        return codec.decode(answer.payload, answer.codec, in_place=True)
    finally:
        answer.release()
