"""Messages between agents, and requests to them, over processes and within one.

A latency is from the intended send time to the entry of the receiver's handler, as each handler
reads it off its message: what a late sender or a stall delays is counted in full. In company: a
connection of asyncio's over a Unix socket, encoded alike.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median
from time import perf_counter_ns
from typing import Any

import msgspec

from ultrafast import Agent, UltraFastAgentManager
from ultrafast.core import now_ns

from ._measure import Times, marked, quicker, reports, summary
from ._places import peer, system

_WAIT_S = 60.0
_SLEEP_LATE_NS = 80_000  # a sleep ends about so late; the rest is waited for awake
_PAYLOADS = [64, 1_024, 65_536]


class Receiving(Agent):
    """Notes when its messages arrive; answers a request with its process or with what it noted."""

    def __init__(self) -> None:
        self.latencies_ns: list[int] = []
        self.last_ns = 0

    def on_message(self, message: Any) -> Any:
        now = now_ns()
        if not message.wants_answer:
            self.latencies_ns.append(now - message.sent_ns)
            self.last_ns = now
            return None
        if message.body == "pid":
            return os.getpid()
        if message.body == "count":
            return len(self.latencies_ns)
        if message.body == "noted":
            noted, self.latencies_ns = self.latencies_ns, []
            return self.last_ns, noted
        return message.body


class Sending(Agent):
    """Told to, sends messages to another agent: at a pace, or as fast as they are accepted."""

    async def on_message(self, message: Any) -> Any:
        order = message.body
        if order == "pid":
            return os.getpid()
        body = bytes(order["payload_bytes"])
        if order["per_s"]:
            # From a thread: the loop's timers are as coarse as a millisecond.
            return await asyncio.to_thread(self._at_a_pace, order, body)
        start = now_ns()
        for _ in range(order["count"]):
            if not await self.context.send(order["to"], body, timeout_s=_WAIT_S):
                raise RuntimeError(f"a message was refused for {_WAIT_S:g} s")
        return start

    def _at_a_pace(self, order: dict[str, int], body: bytes) -> int:
        period_ns = 1_000_000_000 // order["per_s"]
        start = now_ns() + 1_000_000
        for number in range(order["count"]):
            due = start + number * period_ns
            while (left := due - now_ns()) > 0:
                if left > _SLEEP_LATE_NS:
                    time.sleep((left - _SLEEP_LATE_NS) / 1e9)
            while not self.context.send_nowait(order["to"], body, sent_ns=due):
                time.sleep(0.0001)
        return start


@asynccontextmanager
async def _pair(workers: int) -> AsyncIterator[tuple[UltraFastAgentManager, int, int]]:
    """A manager, a sending agent, and a receiving one: in another process, if there is another."""
    manager = system(workers)
    manager.register("sending", Sending)
    manager.register("receiving", Receiving)
    async with manager:
        sender = await manager.spawn_agent("sending")
        here = await manager.request(None, sender, "pid", timeout_s=_WAIT_S)
        for _ in range(32):
            receiver = await manager.spawn_agent("receiving")
            there = await manager.request(None, receiver, "pid", timeout_s=_WAIT_S)
            if workers < 2 or here != there:
                yield manager, sender, receiver
                return
        raise RuntimeError("32 agents were spawned in one of two workers")


async def _send(
    manager: UltraFastAgentManager, sender: int, receiver: int, **order: int
) -> tuple[int, int, list[int]]:
    """Have messages sent: when the first left, when the last arrived, each one's latency."""
    start = await manager.request(None, sender, {"to": receiver, **order}, timeout_s=_WAIT_S)
    until = time.monotonic() + _WAIT_S
    while await manager.request(None, receiver, "count", timeout_s=_WAIT_S) < order["count"]:
        if time.monotonic() > until:
            raise TimeoutError(f"not all of {order['count']} messages arrived in {_WAIT_S:g} s")
        await asyncio.sleep(0.005)
    last, latencies = await manager.request(None, receiver, "noted", timeout_s=_WAIT_S)
    return start, last, latencies


@reports("us")
class Latency:
    """From one agent to another at a steady pace: workers 2 between processes, 0 within one."""

    params = ((2, 0), _PAYLOADS, (1_000, 5_000))
    param_names = ("workers", "payload_bytes", "messages_per_s")

    @marked(timeout=300)
    def setup_cache(self) -> dict[tuple[int, int, int], Times]:
        found: dict[tuple[int, int, int], Times] = {}
        for workers in self.params[0]:
            found |= asyncio.run(_latencies(workers))
        return found


async def _latencies(workers: int) -> dict[tuple[int, int, int], Times]:
    seconds = quicker(2, 1)
    found = {}
    async with _pair(workers) as (manager, sender, receiver):
        for payload_bytes in _PAYLOADS:
            order = {"payload_bytes": payload_bytes}
            await _send(manager, sender, receiver, count=200, per_s=1_000, **order)
            for per_s in Latency.params[2]:
                count = quicker(per_s * seconds, 300)
                _, _, times = await _send(
                    manager, sender, receiver, count=count, per_s=per_s, **order
                )
                found[workers, payload_bytes, per_s] = summary(times)
    return found


class Throughput:
    """Messages a second from one agent to another that are handled; the median of three runs."""

    params = ((2, 0), _PAYLOADS)
    param_names = ("workers", "payload_bytes")

    @marked(unit="messages/s")
    def track_messages_per_s(self, workers: int, payload_bytes: int) -> float:
        return asyncio.run(_throughput(workers, payload_bytes))


async def _throughput(workers: int, payload_bytes: int) -> float:
    count = quicker(20_000 if payload_bytes < 10_000 else 4_000, 500)
    rates = []
    async with _pair(workers) as (manager, sender, receiver):
        for _ in range(quicker(3, 1)):
            start, last, _ = await _send(
                manager, sender, receiver, count=count, per_s=0, payload_bytes=payload_bytes
            )
            rates.append(count / (last - start) * 1e9)
    return round(median(rates))


@reports("us")
class Request:
    """A request and its answer, both of that payload, one after the other."""

    params = (("another process", "the same process", "asyncio over a Unix socket"), _PAYLOADS)
    param_names = ("to", "payload_bytes")

    @marked(timeout=300)
    def setup_cache(self) -> dict[tuple[str, int], Times]:
        return asyncio.run(_requests())


_Ask = Callable[[bytes], Awaitable[Any]]


async def _requests() -> dict[tuple[str, int], Times]:
    count = quicker(300, 50)
    times: dict[tuple[str, int], list[int]] = {}
    async with _agent(2) as far, _agent(0) as near, _socket() as plain:
        asks = dict(zip(Request.params[0], [far, near, plain], strict=True))
        for _ in range(quicker(5, 1)):
            for payload_bytes in _PAYLOADS:
                body = bytes(payload_bytes)
                for to, ask in asks.items():
                    kept = times.setdefault((to, payload_bytes), [])
                    for _ in range(count):
                        start = perf_counter_ns()
                        await ask(body)
                        kept.append(perf_counter_ns() - start)
    return {key: summary(kept) for key, kept in times.items()}


@asynccontextmanager
async def _agent(workers: int) -> AsyncIterator[_Ask]:
    async with _pair(workers) as (manager, _, receiver):
        yield lambda body: manager.request(None, receiver, body, timeout_s=_WAIT_S)


@asynccontextmanager
async def _socket() -> AsyncIterator[_Ask]:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        with peer(_answer, path) as process:
            until = time.monotonic() + _WAIT_S
            while not os.path.exists(path) and time.monotonic() < until:
                await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_unix_connection(path)

            async def ask(body: bytes) -> Any:
                await _put(writer, body)
                return await _get(reader)

            yield ask
            writer.close()
            process.kill()


async def _put(writer: asyncio.StreamWriter, body: Any) -> None:
    data = msgspec.msgpack.encode(body)
    writer.write(len(data).to_bytes(4, "little") + data)
    await writer.drain()


async def _get(reader: asyncio.StreamReader) -> Any:
    size = int.from_bytes(await reader.readexactly(4), "little")
    return msgspec.msgpack.decode(await reader.readexactly(size))


def _answer(path: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await _put(writer, await _get(reader))

    async def serve() -> None:
        server = await asyncio.start_unix_server(talk, path)
        await server.serve_forever()

    asyncio.run(serve())
