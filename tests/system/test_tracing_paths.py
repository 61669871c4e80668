"""Traces on every way that a message can take, over processes; and what they cost without any."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from opentelemetry.sdk.trace import TracerProvider

import ultrafast as uf
from ultrafast.bus import tracing

pytestmark = pytest.mark.usefixtures("clean_shm")

_provider = TracerProvider()

# Puts into a named queue from its own process and its own trace, by every way there is.
PUTTER = """
import asyncio, sys
from opentelemetry.sdk.trace import TracerProvider
import numpy as np
import ultrafast as uf

async def main(name):
    async with uf.attach(name) as client:
        queue = client.queue("jobs")
        with TracerProvider().get_tracer("t").start_as_current_span("s") as span:
            own = span.get_span_context()
            array = client.loan_array((100, 8), "f8")
            array[:] = 1.0
            room = client.bus._endpoint.queues.blocks()[2].block_bytes - 64
            loan = client.loan(room)  # a block of that size has no room for a trace besides
            loan.view[:1] = b"x"
            assert queue.put_many_nowait([b"one", b"two"]) == 2
            assert queue.put_many_blocking([{"three": 3}, "four"], 10.0) == 2
            assert queue.put_nowait(loan) and queue.put_nowait(array)
            assert queue.put_blocking(b"five", 10.0) and await queue.put("six", priority="low")
        print(f"00-{own.trace_id:032x}-{own.span_id:016x}-{int(own.trace_flags):02x}")

asyncio.run(main(sys.argv[1]))
"""

# The same ways, and a publication and a request, in a process that never heard of traces.
UNTRACED = """
import asyncio, sys
import ultrafast as uf

class Echo(uf.Agent):
    def on_message(self, message):
        assert message.trace is None
        return bytes(message.body[:3])

async def main():
    async with uf.UltraFastAgentManager(uf.Config(workers=0)) as m:
        m.register("echo", Echo)
        echo = await m.spawn_agent("echo")
        published = m.subscribe("news.>")
        queue = m.queue("jobs")

        def taken():
            return [each.blocks - each.free for each in m.bus._endpoint.queues.blocks()]

        before = taken()
        room = m.bus._endpoint.queues.blocks()[2].block_bytes - 64
        loan = m.loan(room)  # all that a block of this size holds
        after = taken()
        assert after[2] > before[2] and after[3:] == before[3:], (before, after)
        assert queue.put_nowait(loan) and queue.put_many_nowait([b"one", b"two"]) == 2
        assert await m.publish("news.a", b"x" * 2000)
        assert (await published.next(10.0)).trace is None
        assert await m.request(None, echo, b"abcdef") == b"abc"
        with queue.receiver(8) as receiver:
            bodies = receiver.get_many(timeout_s=10.0)
            assert [info.trace for info in receiver.infos()] == [None] * 3
            del bodies
        m.events.emit_soon("seen")
        assert m.events.recent("seen")[0].trace is None
    assert "opentelemetry.trace" not in sys.modules, "somebody imported it"

asyncio.run(main())
"""


@contextmanager
def span() -> Iterator[tuple[str, str]]:
    """A span of this process: its trace's id, and its `traceparent`."""
    with _provider.get_tracer("sender").start_as_current_span("send") as started:
        own = started.get_span_context()
        trace_id, span_id = f"{own.trace_id:032x}", f"{own.span_id:016x}"
        yield trace_id, f"00-{trace_id}-{span_id}-{int(own.trace_flags):02x}"


def _here() -> list[str | None]:
    """The trace that this code runs in."""
    return [tracing.text_of(tracing.current())]


class Reader(uf.Agent):
    """Tells in which trace it got a body, and what was published to it, how and when."""

    def on_start(self) -> None:
        self.seen: dict[str, Any] = {}
        self.context.subscribe("news.>", lambda got: self.note("all", got))
        self.context.subscribe("news.>", lambda got: self.note("group", got), queue_group="g")
        self.context.subscribe("news.>", lambda got: self.note("blocks", got), when_full="block")

    def note(self, way: str, got: uf.Publication) -> None:
        self.seen[f"{way} {got.subject}"] = [got.traceparent, *_here(), len(got.payload)]

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        if not isinstance(message.body, str):
            return [message.traceparent, *_here(), len(message.body)]
        if message.body == "emit":
            self.context.events.emit_soon("reader.spoke", 1)
        return self.seen


class Counting(uf.Agent):
    """Tells of every message in which trace it came and was handled."""

    def on_start(self) -> None:
        self.seen: list[list[str | None]] = []

    def on_message(self, message: uf.IncomingMessage) -> Any:
        if isinstance(message.body, str):
            return self.seen
        return self.seen.append([message.traceparent, *_here()])


def run(body: Callable[[uf.UltraFastAgentManager], Awaitable[None]]) -> None:
    async def main() -> None:
        config = uf.Config(workers=1, max_concurrent_agents=100)
        async with uf.UltraFastAgentManager(config) as manager:
            manager.register("reader", Reader)
            await body(manager)

    asyncio.run(main())


def test_what_is_lent_carries_its_trace() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        reader = await m.spawn_agent("reader")
        rooms = [each.block_bytes - 64 for each in m.bus._endpoint.queues.blocks()]
        lent_before = m.loan(rooms[1])  # in no trace, but a trace may come before it is sent
        with span() as (_, text):
            for nbytes in (0, 1, 160, *rooms[:3]):
                assert await m.request(None, reader, m.loan(nbytes)) == [text, text, nbytes]
            array = m.loan_array((1000,), "u4")
            array[:] = 7
            assert await m.request(None, reader, array) == [text, text, 1000]
            assert await m.request(None, reader, lent_before) == [text, text, rooms[1]]
        assert await m.request(None, reader, m.loan(100)) == [None, None, 100]

    run(body)


def test_a_shared_publication_carries_its_trace_to_each_subscriber() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        reader = await m.spawn_agent("reader")
        assert await m.request(None, reader, b"") == [None, None, 0]
        here = m.subscribe("news.>")
        wanted = {}
        for subject, nbytes, lends in (("a", 9, 0), ("b", 3000, 0), ("c", 3000, 1)):
            with span() as (_, text):
                payload = m.loan(nbytes) if lends else bytes(nbytes)
                assert await m.publish(f"news.{subject}", payload, timeout_s=10.0)
            assert (await here.next(10.0)).traceparent == text
            for way in ("all", "group", "blocks"):
                wanted[f"{way} news.{subject}"] = [text, text, nbytes]
        assert await m.publish("news.d", bytes(3000), timeout_s=10.0)
        for way in ("all", "group", "blocks"):
            wanted[f"{way} news.d"] = [None, None, 3000]
        async with asyncio.timeout(30):
            while (seen := await m.request(None, reader, "seen")) != wanted and len(seen) < 12:
                await asyncio.sleep(0.01)
        assert seen == wanted

    run(body)


def test_all_that_is_put_into_a_named_queue_carries_its_trace() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        queue = m.queue("jobs")
        command = [sys.executable, "-P", "-c", PUTTER, m.name]
        for way in range(2):
            putting = await asyncio.to_thread(
                subprocess.run, command, text=True, capture_output=True, timeout=60
            )
            assert (putting.returncode, putting.stderr) == (0, "")
            text = putting.stdout.strip()
            if way:
                with queue.receiver(16) as receiver:
                    receiver.get_many(timeout_s=10.0)
                    seen = [info.traceparent for info in receiver.infos()]
            else:
                async with m.consume("jobs", 16) as consumer:
                    seen = [item.traceparent for item in await consumer.batch(timeout_s=10.0)]
            assert seen == [text] * 8

    run(body)


def test_many_messages_at_once_carry_their_trace() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        m.register("counting", Counting)
        counting = await m.spawn_agent("counting")
        with span() as (_, text):
            assert all(m.bus.send_many_nowait(None, [(counting, b"x"), (counting, np.arange(3))]))
            assert await m.bus.send(None, counting, {"a": 1})
        assert await m.request(None, counting, "seen") == [[text, text]] * 3

    run(body)


def test_dead_letters_and_what_is_sent_again_keep_their_trace() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        queue = m.queue("jobs")
        async with m.consume("jobs", 1, acknowledge="manual") as consumer:
            for payload in (b"small", m.loan(5000)):
                with span() as (_, text):
                    assert queue.put_nowait(payload)
                (await consumer.next(10.0)).reject()
                (letter,) = m.dead_letters()
                assert (letter.traceparent, letter.reason) == (text, "rejected")
                with span():
                    assert m.resend(letter)
                again = await consumer.next(10.0)
                assert again.traceparent == text
                again.release()

    run(body)


def test_events_of_another_process_carry_the_trace_they_were_emitted_in() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        reader = await m.spawn_agent("reader")
        heard: asyncio.Future[list[str | None]] = asyncio.get_running_loop().create_future()
        m.events.once("reader.spoke", lambda event: heard.set_result([event.traceparent, *_here()]))
        async with asyncio.timeout(30):
            with span() as (_, text):
                while not heard.done():  # its process learns in its time that somebody listens
                    await m.request(None, reader, "emit")
                    await asyncio.sleep(0.01)
            assert await heard == [text, text]

    run(body)


def test_without_opentelemetry_nothing_is_asked_for_and_nothing_imported() -> None:
    command = [sys.executable, "-P", "-c", UNTRACED]
    done = subprocess.run(command, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
