"""W3C trace contexts on messages: which trace a sender is in, and a handler's place in it.

Stands on opentelemetry-api where that is installed, and costs nothing where it is not or where a
process has not imported it. It makes no spans: those are the application's. A trace's state
(`tracestate`) does not travel.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ultrafast.core.answers import traceparent_of as text_of

__all__ = ["call", "current", "is_active", "text_of"]

_MODULE: Final = "opentelemetry.trace"


def current() -> bytes | None:
    """The trace that the caller is in, as it travels; None outside any.

    Notes
    -----
    Threads: any. Cost: a look into `sys.modules` where OpenTelemetry was not imported.
    """
    trace = sys.modules.get(_MODULE)
    if trace is None:
        return None
    try:
        context = trace.get_current_span().get_span_context()
    except AttributeError:
        return None  # another thread is importing it
    if not context.is_valid:
        return None
    return b"".join(  # as `text_of` reads it
        (
            context.trace_id.to_bytes(16, "big"),
            context.span_id.to_bytes(8, "big"),
            bytes((int(context.trace_flags) & 0xFF,)),
            bytes(7),
        )
    )


def is_active() -> bool:
    """Whether this process has imported OpenTelemetry, so that what it sends may carry a trace."""
    return _MODULE in sys.modules


def call(trace: bytes | None, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function within a trace; what it returns to be awaited is awaited within it too.

    Parameters
    ----------
    trace : bytes, optional
        As it travelled. Without one, with one that is damaged, and where OpenTelemetry is not
        installed, this is a call like any other.
    function : callable
    *arguments
        Its.
    """
    attached = _attach(trace)
    if attached is None:
        return function(*arguments)
    api, token = attached
    try:
        outcome = function(*arguments)
    finally:
        api.detach(token)
    return _awaited(trace, outcome) if inspect.isawaitable(outcome) else outcome


async def _awaited(trace: bytes | None, awaitable: Awaitable[Any]) -> Any:
    attached = _attach(trace)
    assert attached is not None
    api, token = attached
    try:
        return await awaitable
    finally:
        api.detach(token)


def _attach(trace: bytes | None) -> tuple[Any, object] | None:
    """Make a trace the current one: the module that detaches it, and what it wants for that."""
    if trace is None or text_of(trace) is None:
        return None
    api = _api()
    if api is None:
        return None
    tracing, contexts = api
    span = tracing.NonRecordingSpan(
        tracing.SpanContext(
            int.from_bytes(trace[:16], "big"),
            int.from_bytes(trace[16:24], "big"),
            is_remote=True,
            trace_flags=tracing.TraceFlags(trace[24]),
        )
    )
    return contexts, contexts.attach(tracing.set_span_in_context(span))


@functools.cache
def _api() -> tuple[Any, Any] | None:
    """OpenTelemetry's `trace` and `context`; imported when the first trace arrives."""
    try:
        return importlib.import_module(_MODULE), importlib.import_module("opentelemetry.context")
    except ImportError:
        return None
