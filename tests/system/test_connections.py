"""Named queues from ordinary threads and processes, without a loop; receivers that are killed."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import ultrafast as uf
from ultrafast import errors
from ultrafast.metric_names import Counter

pytestmark = pytest.mark.usefixtures("clean_shm")

PATIENCE_S = 60.0

WORKER = """
import os, sys
import ultrafast as uf

name, die_at = sys.argv[1], sys.argv[2].encode()
with uf.connect(name) as bus:
    while (body := bus.recv("in", timeout_s=60)) != b"end":
        if body == die_at:
            os.kill(os.getpid(), 9)
        assert bus.send("out", body, timeout_s=60)
"""


def run(body: Callable[[uf.UltraFastAgentManager], Awaitable[None]], **config: Any) -> None:
    async def main() -> None:
        settings = {"workers": 0, "max_concurrent_agents": 100, **config}
        async with uf.UltraFastAgentManager(uf.Config(**settings)) as manager:
            await asyncio.wait_for(body(manager), PATIENCE_S)

    asyncio.run(main())


def accounts(manager: uf.UltraFastAgentManager) -> tuple[int, int]:
    read = manager.metrics_counter
    return read(Counter.SENT), sum(
        map(read, (Counter.DELIVERED, Counter.REFUSED, Counter.DEAD_LETTERED))
    )


def worker(name: str, die_at: str = "never") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORKER, name, die_at])


def test_a_killed_process_loses_nothing_and_its_successor_goes_on() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        loop = asyncio.get_running_loop()
        bodies = [b"%d" % n for n in range(200)]
        assert m.queue("in").put_many_nowait(bodies) == 200
        first = worker(m.name, die_at="120")
        await loop.run_in_executor(None, first.wait, PATIENCE_S)
        assert first.returncode == -9
        second = worker(m.name)
        with m.queue("out").receiver(spin_us=0) as receiver:
            got: list[bytes] = []
            while len(got) < 200:
                more = await loop.run_in_executor(None, receiver.get_many, None, PATIENCE_S)
                assert more
                got += more
            assert sorted(got, key=int) == bodies
            assert m.queue("in").put_nowait(b"end")
            await loop.run_in_executor(None, second.wait, PATIENCE_S)
            assert second.returncode == 0
        sent, accounted = accounts(m)
        assert sent == accounted == 401
        assert m.metrics_counter(Counter.REDELIVERED) == 1

    run(body)


def test_every_kind_of_body_each_with_what_came_beside_it() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        queue = m.queue("work")
        bodies: list[Any] = [b"bytes", "text", {"n": [1, None]}, None, memoryview(b"view"), b""]
        assert queue.put_many_nowait(bodies) == 6
        assert queue.put_nowait("urgent", priority="critical", sender=9)
        assert queue.put_many_nowait([b"late"] * 2, priority="low", ttl_s=30.0) == 2
        with queue.receiver(4) as receiver:
            assert receiver.get_many_nowait(3) == ["urgent", b"bytes", "text"]
            infos = receiver.infos()
            assert [(each.priority, each.sender) for each in infos] == [(0, 9), (2, 0), (2, 0)]
            assert infos[0].id > infos[2].id > infos[1].id
            assert receiver.get(1.0) == {"n": [1, None]}
            assert receiver.get_nowait(default="nothing") is None
            assert receiver.get_many(10, 1.0) == [b"view", b""]
            assert receiver.get_many(timeout_s=1.0) == [b"late"] * 2
        for wrong in ([b"fits", object()], [b"fits", bytes(2 << 20)], ["fits", bytes(2 << 20)]):
            with pytest.raises((errors.EncodeError, errors.MessageTooBig)):
                queue.put_many_nowait(wrong)
        assert len(queue) == 0
        sent, accounted = accounts(m)
        assert sent == accounted == 9

    run(body)


def test_what_can_not_be_handed_out_becomes_a_dead_letter() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        queue = m.queue("work")
        assert queue.put_nowait(b"overdue", ttl_s=0.001)
        assert queue.post(8, 2, b"\xc1", 0, 0)  # no MessagePack
        assert queue.put_nowait(b"good")
        await asyncio.sleep(0.01)
        with uf.connect(m.name) as bus:
            assert bus.recv("work", 5.0) == b"good"
            with pytest.raises(errors.Timeout, match="nothing came within 0 s"):
                bus.recv("work", timeout_s=0)
        assert [each.reason for each in m.dead_letters()] == ["expired", "unreadable"]
        assert [each.queue for each in m.dead_letters()] == ["work", "work"]
        sent, accounted = accounts(m)
        assert (sent, accounted) == (3, 3)

    run(body)


def test_a_poisonous_item_ends_as_a_dead_letter() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        assert m.queue("in").put_nowait(b"deadly")
        for _ in range(2):
            process = worker(m.name, die_at="deadly")
            await asyncio.get_running_loop().run_in_executor(None, process.wait, PATIENCE_S)
            assert process.returncode == -9
        process = worker(m.name, die_at="deadly")
        async with asyncio.timeout(PATIENCE_S):
            while not (letters := m.dead_letters()):
                await asyncio.sleep(0.01)
        assert [each.reason for each in letters] == ["poisonous"]
        # Not earlier: whoever is to have the deadly one would end before its last taker is mended.
        assert m.queue("in").put_nowait(b"end")
        await asyncio.get_running_loop().run_in_executor(None, process.wait, PATIENCE_S)
        assert process.returncode == 0

    run(body, max_redeliveries=1)


def test_threads_of_one_connection_share_a_queue() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        def work() -> None:
            got: list[list[int]] = [[], []]

            def receive(into: list[int]) -> None:
                while (item := bus.recv("work", 30.0)) != "end":
                    into.append(item)
                bus.done("work")

            with uf.connect(m.name) as bus:
                threads = [threading.Thread(target=receive, args=(each,)) for each in got]
                for thread in threads:
                    thread.start()
                for number in range(300):
                    assert bus.send("work", number, timeout_s=30.0)
                for _ in threads:
                    assert bus.send("work", "end")
                for thread in threads:
                    thread.join(PATIENCE_S)
            assert sorted(got[0] + got[1]) == list(range(300))
            assert all(each == sorted(each) for each in got)

        await asyncio.get_running_loop().run_in_executor(None, work)
        sent, accounted = accounts(m)
        assert sent == accounted == 302

    run(body)


def test_what_was_not_done_with_goes_back() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        with uf.connect(m.name) as bus:
            assert bus.queue("work").put_many_blocking([b"1", b"2", b"3"], 1.0) == 3
            with pytest.raises(ZeroDivisionError), bus.queue("work").receiver(2) as receiver:
                assert receiver.get(1.0) == b"1"
                raise ZeroDivisionError
            receiver.close()  # twice is fine
            assert bus.recv("work", 1.0) == b"3"
            bus.close()
            bus.close()
            with pytest.raises(errors.RegionClosed):
                bus.send("work", b"")
        assert m.queue("work").receiver().get_many_nowait() == [b"1", b"2", b"3"]

    run(body)


def test_a_forked_child_has_no_part_in_the_connection() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        with uf.connect(m.name) as bus:
            assert bus.send("work", b"1")
            assert bus.send("work", b"2")
            assert bus.recv("work", 1.0) == b"1"
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    bus.recv("work", 1.0)
                except errors.ForkedRegion:
                    bus.close()
                    code = 0
                os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert bus.recv("work", 1.0) == b"2"

    run(body)


def test_there_is_nothing_to_connect_to() -> None:
    with pytest.raises(errors.RegionMissing):
        uf.connect("nobody-made-this")


@pytest.mark.parametrize("spin_us", [-1.0, 2e6, "often"])
def test_a_spin_that_is_none(spin_us: Any) -> None:
    with pytest.raises(errors.ConfigError, match="spin_us is"):
        uf.Config(spin_us=spin_us)


def test_a_loan_is_read_where_it_was_written_and_kept_by_its_view() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        with uf.connect(m.name) as bus, m.queue("work").receiver() as receiver:
            loan = bus.loan(100_000)
            with loan.view as view:
                view[:] = bytes(range(250)) * 400
            array = bus.loan_array((2, 3), "f8")
            array[:] = 1.5
            assert bus.send("work", loan) and bus.send("work", array)
            with pytest.raises(errors.InvalidArgument, match="sent"):
                bus.send("work", loan)
            lent = receiver.get(10)
            assert type(lent) is memoryview and lent.readonly and lent.nbytes == 100_000
            got = receiver.get(10)  # done with the first, whose view lives on
            assert got.tolist() == [[1.5] * 3] * 2
            del got, array  # they see the region, which is to be left
            assert m.queue("work").put_nowait(b"another")
            assert receiver.get(10) == b"another"
            assert lent == bytes(range(250)) * 400
            lent.release()
            assert bus.send("work", bus.loan(0))
            with receiver.get(10) as empty:
                assert empty.nbytes == 0
            receiver.done()
        sent, accounted = accounts(m)
        assert (sent, accounted) == (4, 4)

    run(body)
