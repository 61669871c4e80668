"""The Messages API's bytes: what a request must look like, and how an answer is laid out.

Stands on msgspec. Pure functions from a decoded request to the bytes of a message, of an error, or
of an event stream; `app.py` decides which to send.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from ultrafast.testing.faults import Fault

__all__ = [
    "MARK",
    "Answer",
    "MessagesBody",
    "RequestRecord",
    "ServerStatistics",
    "answer_for",
    "error_body",
    "input_tokens",
    "request_text",
]

MARK = "[loopback]"
_CHARS_PER_TOKEN = 4
_PIECE_CHARS = 48
_QUOTED_CHARS = 240

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class _InputMessage(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Any]]


class _Tool(msgspec.Struct):
    name: str
    input_schema: dict[str, Any] | None = None
    type: str = "custom"


class _OutputConfig(msgspec.Struct):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: dict[str, Any] | None = None


class MessagesBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Body of POST /v1/messages. Fields typed `Any` are accepted and make no difference here."""

    model: str
    max_tokens: int
    messages: list[_InputMessage]
    system: str | list[dict[str, Any]] = ""
    stream: bool = False
    tools: list[_Tool] = []
    tool_choice: Any = None
    stop_sequences: list[str] = []
    output_config: _OutputConfig | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    thinking: Any = None
    metadata: Any = None
    cache_control: Any = None
    container: Any = None
    context_management: Any = None
    diagnostics: Any = None
    inference_geo: Any = None
    service_tier: Any = None
    speed: Any = None

    def complaint(self, version: str) -> str | None:
        """What the API would refuse about this body, or None."""
        if self.max_tokens < 1:
            return "max_tokens: Input should be greater than or equal to 1"
        if not self.messages:
            return "messages: at least one message is required"
        if self.messages[0].role != "user":
            return "messages: first message must use the user role"
        for index, message in enumerate(self.messages):
            if not message.content:
                return f"messages.{index}: content must not be empty"
        if version >= "2026-10-21":
            for name in ("temperature", "top_p", "top_k"):
                if getattr(self, name) is not None:
                    return f"{name}: this parameter is not part of API version {version}"
        if self.output_config is not None and self.output_config.format is not None:
            return "output_config.format: the loopback server makes no structured output"
        return None


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request as the server saw it, and what it answered.

    Attributes
    ----------
    path, status : str, int
        What was asked for, and the answer's status; 499 when the client left before it.
    model, stream, system, text : str, bool, str, str
        From the request's body; `text` is that of all messages.
    retry : int
        Which retry the SDK says it is; 0 is the first attempt.
    fault : str, optional
        Kind of the fault it met.
    """

    path: str
    status: int
    model: str = ""
    stream: bool = False
    retry: int = 0
    system: str = ""
    text: str = ""
    fault: str | None = None


class ServerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the start or the last reset.

    Attributes
    ----------
    requests, by_status : int, dict of str to int
        Requests answered, in all and by the answer's status.
    in_flight, peak_in_flight : int
        Requests not yet answered, now and at most.
    faults_waiting : int
        Requests that the rest of the script will meet.
    """

    requests: int
    by_status: dict[str, int]
    in_flight: int
    peak_in_flight: int
    faults_waiting: int


class Answer(msgspec.Struct, frozen=True):
    """A message ready to be sent, whole or as a stream."""

    message: dict[str, Any]

    def body(self) -> bytes:
        """The message as one JSON object."""
        return msgspec.json.encode(self.message)

    def without_end(self) -> bytes:
        """The message as a JSON object that lacks its content and usage."""
        kept = ("id", "type", "role", "model")
        return msgspec.json.encode({key: self.message[key] for key in kept})

    def events(self) -> Iterator[bytes]:
        """The message as server-sent events, in the order the API sends them."""
        message = self.message
        start = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
        start["usage"] = {**message["usage"], "output_tokens": 1}
        yield _event("message_start", message=start)
        for index, block in enumerate(message["content"]):
            if block["type"] == "text":
                empty = {"type": "text", "text": ""}
                yield _event("content_block_start", index=index, content_block=empty)
                yield _event("ping")
                text = block["text"]
                for at in range(0, len(text), _PIECE_CHARS):
                    delta = {"type": "text_delta", "text": text[at : at + _PIECE_CHARS]}
                    yield _event("content_block_delta", index=index, delta=delta)
            else:
                yield _event(
                    "content_block_start", index=index, content_block={**block, "input": {}}
                )
                partial = msgspec.json.encode(block["input"]).decode()
                delta = {"type": "input_json_delta", "partial_json": partial}
                yield _event("content_block_delta", index=index, delta=delta)
            yield _event("content_block_stop", index=index)
        yield _event(
            "message_delta",
            delta={key: message[key] for key in ("stop_reason", "stop_sequence")},
            usage={"output_tokens": message["usage"]["output_tokens"]},
        )
        yield _event("message_stop")


def _event(name: str, **fields: Any) -> bytes:
    data = msgspec.json.encode({"type": name, **fields})
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def error_body(status: int, message: str, request_id: str) -> bytes:
    """An error as the API lays it out."""
    error = {"type": _ERROR_TYPES.get(status, "api_error"), "message": message}
    return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})


def _block_text(block: dict[str, Any]) -> str:
    content = block.get("text") or block.get("content") or ""
    if isinstance(content, list):
        return "\n".join(_block_text(inner) for inner in content if isinstance(inner, dict))
    return str(content)


def _text_of(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "\n".join(map(_block_text, content))


def request_text(body: MessagesBody) -> str:
    """All text of the messages."""
    return "\n".join(_text_of(message.content) for message in body.messages)


def _tokens(text: str) -> int:
    return max(1, -(-len(text) // _CHARS_PER_TOKEN))


def input_tokens(body: MessagesBody) -> int:
    """Tokens of the request, estimated as a quarter of its characters."""
    return _tokens(_text_of(body.system) + request_text(body))


def _reply_text(body: MessagesBody) -> str:
    last = body.messages[-1]
    text = _text_of(last.content)
    if isinstance(last.content, list) and any(b.get("type") == "tool_result" for b in last.content):
        return f"{MARK} No model was asked. The tools answered: {text[:_QUOTED_CHARS]}"
    # The task stands at the end, after any material, so the end is what is worth quoting.
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return (
        f"{MARK} No model was asked. {body.model} would have been given {len(text.split())} words "
        f"(digest {digest}) that end: {text[-_QUOTED_CHARS:]}"
    )


def answer_for(body: MessagesBody, request_id: str, fault: Fault | None) -> Answer:
    """The answer to a request: the same request gets the same text, whenever it is asked."""
    limit = body.max_tokens * _CHARS_PER_TOKEN
    stop_reason, stop_sequence = "end_turn", None
    text = _reply_text(body)
    content: list[dict[str, Any]]
    if fault is not None and fault.kind == "text":
        text = f"{MARK} {fault.text}"
    for sequence in body.stop_sequences:
        if sequence and (at := text.find(sequence)) >= 0:
            text, stop_reason, stop_sequence = text[:at], "stop_sequence", sequence
    if len(text) > limit:
        text, stop_reason, stop_sequence = text[:limit], "max_tokens", None
    content = [{"type": "text", "text": text}]
    if fault is not None and fault.kind == "tool_use":
        block = {"type": "tool_use", "id": f"toolu_{request_id}", "name": fault.tool}
        content.append({**block, "input": fault.input})
        stop_reason = "tool_use"
    return Answer(
        {
            "id": f"msg_loopback_{request_id}",
            "type": "message",
            "role": "assistant",
            "model": body.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": stop_sequence,
            "usage": {
                "input_tokens": input_tokens(body),
                "output_tokens": _tokens(text),
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
            },
        }
    )
