"""The loopback server's application: authentication, validation, scripted faults, statistics.

Stands on starlette, msgspec, `wire` and `faults`. One instance serves one process; `loopback.py`
runs it. It never calls a model and never leaves the machine.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ultrafast.testing.faults import HEADER, MODEL_PREFIX, Fault, parse_fault
from ultrafast.testing.wire import (
    MessagesBody,
    RequestRecord,
    ServerStatistics,
    answer_for,
    error_body,
    input_tokens,
    request_text,
)

__all__ = ["make_app"]

_KEPT_RECORDS = 1000
_DISCONNECT_CHECK_S = 0.02
_MAX_BODY_BYTES = 32 * 1024 * 1024  # the API's own limit for a request


class _Cut(Response):
    """A response that stops half way: the server closes the connection on an unfinished one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _State:
    """What the server remembers: its script, counts, and the last requests."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self.reset()

    def reset(self) -> None:
        self.script: list[tuple[Fault, int]] = []
        self.records: deque[RequestRecord] = deque(maxlen=_KEPT_RECORDS)
        self.statuses: Counter[str] = Counter()
        self.in_flight = 0
        self.peak = 0

    def take_fault(self, body: MessagesBody, header: str | None) -> Fault | None:
        """The fault that meets this request: scripted first, then by header, then by model."""
        for index, (fault, left) in enumerate(self.script):
            if fault.model is not None and fault.model != body.model:
                continue
            if fault.contains is not None and fault.contains not in request_text(body):
                continue
            if left > 1:
                self.script[index] = (fault, left - 1)
            else:
                del self.script[index]
            return fault
        if header is not None:
            if (fault_by_header := parse_fault(header)) is None:
                raise _Refused(400, f"{HEADER}: {header!r} is no fault this server knows")
            return fault_by_header
        if body.model.startswith(MODEL_PREFIX):
            return parse_fault(body.model[len(MODEL_PREFIX) :])
        return None

    def statistics(self) -> ServerStatistics:
        return ServerStatistics(
            requests=sum(self.statuses.values()),
            by_status=dict(self.statuses),
            in_flight=self.in_flight,
            peak_in_flight=self.peak,
            faults_waiting=sum(left for _, left in self.script),
        )


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _error(status: int, message: str, request_id: str, retry_after_s: float | None) -> Response:
    headers = {"request-id": request_id}
    if retry_after_s is not None:
        headers["retry-after"] = f"{retry_after_s:g}"
    body = error_body(status, message, request_id)
    return Response(body, status, headers, media_type="application/json")


def _key_problem(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        key = request.headers.get("x-api-key", "")
    if not key.strip():
        return "x-api-key or authorization header is required"
    return "invalid x-api-key" if key.strip() == "invalid" else None


async def _read(request: Request) -> MessagesBody:
    if (problem := _key_problem(request)) is not None:
        raise _Refused(401, problem)
    version = request.headers.get("anthropic-version", "")
    if not version:
        raise _Refused(400, "anthropic-version: header is required")
    raw = await request.body()
    if len(raw) > _MAX_BODY_BYTES:
        raise _Refused(413, f"Request exceeds the maximum size of {_MAX_BODY_BYTES} bytes")
    try:
        body = msgspec.json.decode(raw, type=MessagesBody)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _Refused(400, str(error)) from error
    if (complaint := body.complaint(version)) is not None:
        raise _Refused(400, complaint)
    known = body.model == "loopback" or body.model.startswith("claude-")
    if body.model.startswith(MODEL_PREFIX):
        known = parse_fault(body.model[len(MODEL_PREFIX) :]) is not None
    if not known:
        raise _Refused(404, f"model: {body.model}")
    return body


async def _left(request: Request, within_s: float) -> bool:
    """Wait, and say whether the client has gone meanwhile."""
    try:
        async with asyncio.timeout(within_s):
            while not await request.is_disconnected():
                await asyncio.sleep(_DISCONNECT_CHECK_S)
    except TimeoutError:
        return False
    return True


def _respond(body: MessagesBody, fault: Fault | None, request_id: str) -> Response:
    headers = {"request-id": request_id}
    kind = fault.kind if fault is not None else None
    if fault is not None and kind == "status":
        message = f"scripted fault: status {fault.status}"
        return _error(fault.status, message, request_id, fault.retry_after_s)
    if fault is not None and kind == "tool_use" and fault.tool not in [t.name for t in body.tools]:
        return _error(400, f"scripted tool {fault.tool!r} was not offered", request_id, None)
    answer = answer_for(body, request_id, fault)
    if not body.stream:
        payload = answer.without_end() if kind == "truncated" else answer.body()
        if kind == "invalid_json":
            payload = b'{"id": "msg_loopback_' + request_id.encode() + b'", "content": [{'
        make = _Cut if kind == "cut" else Response
        return make(payload, 200, headers, media_type="application/json")
    if kind == "cut":
        payload = b"".join(answer.events())
        return _Cut(payload, 200, headers, media_type="text/event-stream")
    events = list(answer.events())
    if kind == "truncated":
        events = events[:-3]
    if kind == "invalid_json":
        events[3] = b'event: content_block_delta\ndata: {"type": "content_block_del\n\n'

    async def body_iterator() -> AsyncIterator[bytes]:
        for event in events:
            yield event

    return StreamingResponse(body_iterator(), 200, headers, media_type="text/event-stream")


def make_app() -> Starlette:
    """An application with its own, empty state.

    Returns
    -------
    starlette.applications.Starlette
        Serves POST /v1/messages and /v1/messages/count_tokens, and for its owner GET
        /loopback/statistics, GET /loopback/requests, POST /loopback/script, POST /loopback/reset.
    """
    state = _State()

    async def messages(request: Request) -> Response:
        request_id = f"req_{next(state.numbers):08d}"
        state.in_flight += 1
        state.peak = max(state.peak, state.in_flight)
        body: MessagesBody | None = None
        fault: Fault | None = None
        status = 499  # what is recorded when the client leaves before the answer
        # A request that a reset overtakes is recorded with those before it, and so forgotten.
        statuses, records = state.statuses, state.records
        try:
            try:
                body = await _read(request)
                fault = state.take_fault(body, request.headers.get(HEADER))
                if fault is not None and fault.delay_s and await _left(request, fault.delay_s):
                    return Response(status_code=status)
                response = _respond(body, fault, request_id)
            except _Refused as refused:
                response = _error(refused.status, str(refused), request_id, None)
            status = response.status_code
            return response
        finally:
            state.in_flight -= 1
            statuses[str(status)] += 1
            retry = request.headers.get("x-stainless-retry-count", "0")
            records.append(
                RequestRecord(
                    path=request.url.path,
                    status=status,
                    model=body.model if body is not None else "",
                    stream=body is not None and body.stream,
                    retry=int(retry) if retry.isdecimal() else 0,
                    system=body.system if body is not None and isinstance(body.system, str) else "",
                    text=request_text(body) if body is not None else "",
                    fault=fault.kind if fault is not None else None,
                )
            )

    async def count_tokens(request: Request) -> Response:
        request_id = f"req_{next(state.numbers):08d}"
        try:
            raw = msgspec.json.decode(await request.body())
            if isinstance(raw, dict):
                raw.setdefault("max_tokens", 1)
            body = msgspec.convert(raw, MessagesBody)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return _error(400, str(error), request_id, None)
        return _json({"input_tokens": input_tokens(body)})

    async def statistics(request: Request) -> Response:
        return _json(state.statistics())

    async def requests(request: Request) -> Response:
        return _json(list(state.records))

    async def script(request: Request) -> Response:
        try:
            faults = msgspec.json.decode(await request.body(), type=list[Fault])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return _json({"error": str(error)}, 400)
        state.script.extend((fault, fault.times) for fault in faults)
        return _json(state.statistics())

    async def reset(request: Request) -> Response:
        in_flight = state.in_flight
        state.reset()
        state.in_flight = state.peak = in_flight
        return _json(state.statistics())

    async def not_found(request: Request, exc: Exception) -> Response:
        request_id = f"req_{next(state.numbers):08d}"
        return _error(404, f"Not found: {request.url.path}", request_id, None)

    return Starlette(
        routes=[
            Route("/v1/messages", messages, methods=["POST"]),
            Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
            Route("/loopback/statistics", statistics, methods=["GET"]),
            Route("/loopback/requests", requests, methods=["GET"]),
            Route("/loopback/script", script, methods=["POST"]),
            Route("/loopback/reset", reset, methods=["POST"]),
        ],
        exception_handlers={404: not_found},
    )
