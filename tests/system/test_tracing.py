"""Traces over processes: a handler's span is in its sender's trace, hostile bytes are in none."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import ultrafast as uf
from ultrafast.bus import tracing
from ultrafast.bus.wire import Kind
from ultrafast.codec import RAW

pytestmark = pytest.mark.usefixtures("clean_shm")

_provider = TracerProvider()


def _seen(message: Any) -> list[Any]:
    """What a handler's own span says of itself, and what its message carried."""
    with _provider.get_tracer("handler").start_as_current_span("handle") as span:
        own = span.get_span_context()
        parent = span.parent.span_id if span.parent is not None else 0
        return [f"{own.trace_id:032x}", f"{parent:016x}", message.traceparent]


class Plain(uf.Agent):
    def on_message(self, message: uf.IncomingMessage) -> Any:
        return _seen(message)

    async def execute(self, task: uf.Task) -> uf.Result:
        await asyncio.sleep(0)
        return uf.Result(
            task_id=task.id, status="ok", text=tracing.text_of(tracing.current()) or ""
        )


class Waiting(uf.Agent):
    async def on_message(self, message: uf.IncomingMessage) -> Any:
        await asyncio.sleep(0.001)
        return _seen(message)


class Passing(uf.Agent):
    """Hands on to another agent, from within its handler."""

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        return await self.context.request(message.body, None)


def run(body: Callable[[uf.UltraFastAgentManager], Awaitable[None]]) -> None:
    async def main() -> None:
        config = uf.Config(workers=1, max_concurrent_agents=100)
        async with uf.UltraFastAgentManager(config) as manager:
            for kind in (Plain, Waiting, Passing):
                manager.register(kind.__name__.lower(), kind)
            await body(manager)

    asyncio.run(main())


def test_a_handlers_span_in_another_process_has_its_senders_trace() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        plain, waiting, passing = [
            await m.spawn_agent(name) for name in ("plain", "waiting", "passing")
        ]
        queue = m.queue("jobs")
        published = m.subscribe("news.>")
        for agent, argument in ((plain, None), (waiting, None), (passing, waiting)):
            with _provider.get_tracer("sender").start_as_current_span("send") as span:
                own = span.get_span_context()
                ids = f"{own.trace_id:032x}", f"{own.span_id:016x}"
                text = f"00-{ids[0]}-{ids[1]}-{int(own.trace_flags):02x}"
                answer = await m.request(None, agent, argument)
                assert answer == [*ids, text], "the handler's trace, its parent and its message"
                assert await queue.put("item") and await m.publish("news.a", 1)
                result = await m.execute_task(plain, uf.Task(id="t", objective="o"))
                assert result.text == text
            async with m.consume("jobs", 1) as consumer:
                assert (await consumer.next(10.0)).traceparent == text
            assert (await published.next(10.0)).traceparent == text
        trace_id, parent, carried = await m.request(None, plain, None)
        assert (parent, carried) == ("0" * 16, None) and int(trace_id, 16)

    run(body)


def test_damaged_traces_are_none_and_their_messages_handled() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        plain = await m.spawn_agent("plain")
        endpoint = m.bus._endpoint
        worker = endpoint.agents.route(plain)
        good = bytes(range(1, 26)) + bytes(7)
        for damaged in (bytes(32), b"\xff" * 32, bytes(16) + good[16:], good[:16] + bytes(16)):
            number = endpoint.correlation()
            answer = endpoint.expect(number, 30.0)
            head = (int(Kind.DATA), RAW, 0, plain, number, 1, endpoint.index + 1)
            assert endpoint.post(worker, 0, b"", *head, trace=damaged)
            async with asyncio.timeout(10):
                (await answer).release()
        assert (await m.request(None, plain, None))[2] is None
        with pytest.raises(ValueError, match="a trace of 3 bytes"):
            endpoint.post(worker, 0, b"", int(Kind.DATA), trace=b"abc")

    run(body)


def test_without_opentelemetry_there_is_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    with trace.use_span(_provider.get_tracer("t").start_span("s")):
        assert tracing.current() is not None
        monkeypatch.delitem(sys.modules, "opentelemetry.trace")
        assert tracing.current() is None
