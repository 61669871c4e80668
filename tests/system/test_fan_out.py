"""Loans and publications over real processes: one block for many, and every block comes back."""

import asyncio
import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ultrafast as uf
from system.waiting import until
from ultrafast import errors
from ultrafast.bus.fanout import SHARED_BYTES
from ultrafast.core import Loan

pytestmark = pytest.mark.usefixtures("clean_shm")

MIB = 1 << 20


def total(publication: uf.Publication) -> float:
    return float(np.frombuffer(publication.payload).sum())


class Listener(uf.Agent):
    """Sums what is published, and answers with what it was sent."""

    def on_start(self) -> None:
        self.sums: list[float] = []
        self.kinds: list[str] = []
        self.context.subscribe("numbers.*", self.heard)

    def heard(self, publication: uf.Publication) -> None:
        self.kinds.append(type(publication.payload).__name__)
        self.sums.append(total(publication))

    def on_message(self, message: uf.IncomingMessage) -> Any:
        if isinstance(message.body, str):
            return [self.sums, self.kinds]
        return message.body


def config(tmp_path: Path, **settings: Any) -> uf.Config:
    usual = {"region_path": str(tmp_path), "workers": 2, "max_concurrent_agents": 50}
    return uf.Config(**{**usual, **settings})


def all_came_back(manager: uf.UltraFastAgentManager, processes: int) -> bool:
    """Whether no large block is in use, but for what each process keeps at hand."""
    gc.collect()
    blocks = manager.bus._endpoint.queues.blocks()
    return all(
        each.blocks - each.free <= processes * min(64, each.blocks // 32)
        for each in blocks
        if each.block_bytes > 16_384
    )


def test_a_publication_is_shared_by_all_processes(tmp_path: Path) -> None:
    async def main() -> None:
        async with uf.UltraFastAgentManager(config(tmp_path)) as m:
            m.register("listener", Listener)
            agents = [await m.spawn_agent("listener") for _ in range(4)]
            here: list[Any] = []
            m.bus.subscribe("numbers.>", lambda p: here.append(total(p)))
            # So many that they could not be had if they did not come back.
            count = 20 + sum(each.blocks for each in m.bus._endpoint.queues.blocks()[-2:])
            for n in range(count):
                array = m.bus.loan_array(8_000)
                array[:] = n
                assert await m.publish("numbers.loan", array, timeout_s=30.0)
                assert not array.flags.writeable
                if n % 10 == 9:
                    await asyncio.sleep(0)
            raw = m.bus.loan(8_000)
            with raw.view as view:
                np.frombuffer(view)[:] = 1.0
            assert await m.publish("numbers.raw", raw)
            assert await m.publish("numbers.bytes", np.full(1_000, 2.0).tobytes())
            assert await m.publish("numbers.small", np.full(3, 1.0).tobytes())
            expected = [8_000.0 * n for n in range(count)] + [1_000.0, 2_000.0, 3.0]
            await until(lambda: len(here) == len(expected))
            assert here == expected
            for agent in agents:
                await until_sums(m, agent, len(expected))
                sums, kinds = await m.request(None, agent, "sums")
                assert sums == expected
                assert kinds == ["ndarray"] * count + ["memoryview", "bytes", "bytes"]
            del array
            await until(lambda: all_came_back(m, 3))

    asyncio.run(main())


async def until_sums(m: uf.UltraFastAgentManager, agent: int, count: int) -> None:
    async with asyncio.timeout(30):
        while len((await m.request(None, agent, "sums"))[0]) < count:
            await asyncio.sleep(0.01)


def test_requests_and_work_in_place(tmp_path: Path) -> None:
    async def main() -> None:
        async with uf.UltraFastAgentManager(config(tmp_path)) as m:
            m.register("listener", Listener)
            agent = await m.spawn_agent("listener")
            array = m.bus.loan_array((100, 80))
            array[:] = 5.0
            answer = await m.request(None, agent, array)
            assert answer.shape == (100, 80) and float(answer.sum()) == 40_000.0
            loan = m.bus.loan(100)
            with loan.view as view:
                view[:] = bytes(range(100))
            assert await m.request(None, agent, loan) == bytes(range(100))
            queue = m.bus.queue("work")
            loan = m.bus.loan(30_000)
            assert queue.put_nowait(loan) and loan.gone
            async with queue.consume(acknowledge="manual") as consumer:
                item = await consumer.next(10)
                body = item.body
                assert type(body) is memoryview and body.nbytes == 30_000
                item.put_back()  # while it is looked at: a copy goes back
                item = await consumer.next(10)
                assert bytes(item.body) == bytes(body)
                item.reject()
            (letter,) = m.bus.dead_letters()
            assert letter.reason == "rejected" and letter.body == bytes(body)
            del body, item, letter, answer
            m.bus.take_dead_letters()
            await until(lambda: all_came_back(m, 3))

    asyncio.run(main())


def test_full_queues_refuse_a_shared_publication_and_take_it_in_time(tmp_path: Path) -> None:
    async def main() -> None:
        async with uf.UltraFastAgentManager(config(tmp_path, workers=0)) as m:
            got: list[Any] = []
            blocked = m.bus.subscribe("x", when_full="block", buffer=2)
            m.bus.subscribe("x", lambda p: got.append(len(p.payload)))
            payload = bytes(SHARED_BYTES + 1)
            assert [await m.publish("x", payload) for _ in range(3)] == [True, True, False]
            waiting = asyncio.ensure_future(m.publish("x", payload, timeout_s=30.0))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            assert (await blocked.next(10)).payload == payload
            assert (await blocked.next(10)).subject == "x"
            assert await waiting
            await until(lambda: len(got) == 4)

    asyncio.run(main())


def test_a_shared_publication_as_a_dead_letter(tmp_path: Path) -> None:
    async def main() -> None:
        async with uf.UltraFastAgentManager(config(tmp_path, workers=0)) as m:
            slow = m.bus.subscribe("x.y", buffer=1, when_full="dead-letter")
            for n in range(3):
                assert await m.publish("x.y", np.full(3_000, float(n)))
            await until(lambda: len(m.bus.dead_letters()) == 2)
            letters = m.bus.dead_letters()
            assert [each.body[0] for each in letters] == ["x.y"] * 2
            assert [float(each.body[1][0]) for each in letters] == [0.0, 1.0]
            assert float((await slow.next(10)).payload[0]) == 2.0
            assert m.bus.resend(letters[0])
            again = await slow.next(10)
            assert again.subject == "x.y" and float(again.payload[0]) == 0.0

    asyncio.run(main())


def test_an_array_outlives_the_system(tmp_path: Path) -> None:
    async def main() -> tuple[Any, Loan]:
        async with uf.UltraFastAgentManager(config(tmp_path, workers=0)) as m:
            subscription = m.bus.subscribe("x")
            assert await m.publish("x", np.arange(5_000.0))
            return (await subscription.next(10)).payload, m.bus.loan(100)

    array, loan = asyncio.run(main())
    assert float(array.sum()) == 12_497_500.0 and not array.flags.writeable
    with pytest.raises(errors.RegionClosed):
        memoryview(loan)


def test_nothing_unknown_is_published(tmp_path: Path) -> None:
    async def main() -> None:
        async with uf.UltraFastAgentManager(config(tmp_path, workers=0)) as m:
            with pytest.raises(errors.EncodeError):
                await m.publish("x", object())
            with pytest.raises(errors.MessageTooBig):
                await m.publish("x", bytes(64 * MIB))

    asyncio.run(main())
