"""Answers that tasks wait for: who waits goes on as they come, and is in nobody's way by that."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from ultrafast.core import Message, Queues, Receiver
from ultrafast.core._awaited import Awaited
from ultrafast.core._requests import Requests

LATER = 10**18
whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")


class Table:
    """Requests, and answers to them that come by a queue."""

    def __init__(self, queues: Queues, receiver: Receiver) -> None:
        self.requests = Requests(lambda at: None)
        self._queues, self._receiver = queues, receiver
        self._last = 0

    def expect(self, at_once: bool = True) -> tuple[int, Awaited]:
        self._last += 1
        answer = Awaited(asyncio.get_running_loop(), at_once)
        self.requests.expect(self._last, LATER, answer)
        return self._last, answer

    def answer(self, number: int) -> Message:
        self._queues.send(self._receiver.index, 0, b"answer", correlation=number)
        (message,) = self._receiver.take(1)
        self.requests.answered(message)
        return message


@pytest.fixture
def table(queues: Queues, receiver: Receiver) -> Table:
    return Table(queues, receiver)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


async def read(answer: Awaitable[Message], seen: list[Any], then: Any = None) -> str:
    """Wait for an answer as handlers do, and note who was there."""
    me = asyncio.current_task()
    whose.set("the waiting one's")
    message = await answer
    assert asyncio.current_task() is me and whose.get() == "the waiting one's"
    seen.append(message.tobytes())
    message.release()
    if then is not None:
        await then
    return "read"


def test_who_waits_goes_on_at_once_beside_whoever_hands_out(table: Table) -> None:
    async def main() -> None:
        seen: list[Any] = []
        number, answer = table.expect()
        task = asyncio.create_task(read(answer, seen, asyncio.sleep(0, "slept")))
        await asyncio.sleep(0)
        me = asyncio.current_task()
        message = table.answer(number)
        assert seen == [b"answer"] and message.released and answer.done()
        assert asyncio.current_task() is me and whose.get() == "nobody's"
        assert not task.done()  # it sleeps
        assert await task == "read"
        # With no task up the stack, as in a callback of the loop.
        number, answer = table.expect()
        task = asyncio.create_task(read(answer, seen))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(table.answer, number)
        assert await task == "read" and len(seen) == 2 and len(table.requests) == 0

    run(main)


def test_the_loop_turns_first_where_it_has_to(table: Table) -> None:
    async def main() -> None:
        seen: list[Any] = []
        # Not to go on at once.
        number, answer = table.expect(at_once=False)
        task = asyncio.create_task(read(answer, seen))
        await asyncio.sleep(0)
        table.answer(number)
        assert answer.done() and not seen
        assert await task == "read"
        # In the context of whoever hands out.
        number, answer = table.expect()
        shared = contextvars.copy_context()
        task = asyncio.create_task(read(answer, seen), context=shared)
        await asyncio.sleep(0)
        shared.run(table.answer, number)
        assert answer.done() and len(seen) == 1
        assert await task == "read"
        # Awaited when it is there already.
        number, answer = table.expect()
        message = table.answer(number)
        assert answer.result() is message and answer.exception() is None
        assert await read(answer, seen) == "read"
        # Somebody else is to be told as well.
        number, answer = table.expect()
        told: list[Awaited] = []
        gone: list[Awaited] = []
        answer.add_done_callback(told.append)
        answer.add_done_callback(gone.append)
        assert answer.remove_done_callback(gone.append) == 1
        task = asyncio.create_task(read(answer, seen))
        await asyncio.sleep(0)
        table.answer(number)
        assert len(seen) == 3 and not told
        assert await task == "read" and told == [answer] and not gone
        answer.add_done_callback(gone.append)
        await asyncio.sleep(0)
        assert gone == [answer]

    run(main)


def test_who_gave_up_is_not_called_and_its_answer_goes_back(table: Table) -> None:
    async def main() -> None:
        seen: list[Any] = []
        number, answer = table.expect()
        task = asyncio.create_task(read(answer, seen))
        await asyncio.sleep(0)
        task.cancel("enough")
        assert answer.cancelled() and answer.done() and not answer.cancel()
        assert table.answer(number).released
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task
        with pytest.raises(asyncio.CancelledError):
            answer.exception()
        # Cancelled between the answer and its turn: the answer goes back with the task.
        number, answer = table.expect(at_once=False)
        task = asyncio.create_task(read(answer, seen))
        await asyncio.sleep(0)
        table.answer(number)
        assert not answer.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # In time, and too late.
        for limit_s, ended in ((5.0, "read"), (0.0, None)):
            number, answer = table.expect()
            task = asyncio.create_task(asyncio.wait_for(read(answer, seen), limit_s))
            await asyncio.sleep(0.01)
            table.answer(number)
            if ended is None:
                with pytest.raises(TimeoutError):
                    await task
            else:
                assert await task == ended
        assert len(seen) == 1

    run(main)


def test_errors_come_where_they_belong(table: Table) -> None:
    async def main() -> None:
        async def fails(answer: Awaited, error: BaseException) -> None:
            (await answer).release()
            raise error

        number, answer = table.expect()
        task = asyncio.create_task(fails(answer, ValueError("its own")))
        await asyncio.sleep(0)
        table.answer(number)
        with pytest.raises(ValueError, match="its own"):
            await task
        # What is to end the process comes out of handing out.
        number, answer = table.expect()
        task = asyncio.create_task(fails(answer, SystemExit(3)))
        await asyncio.sleep(0)
        me = asyncio.current_task()
        with pytest.raises(SystemExit):
            table.answer(number)
        assert asyncio.current_task() is me
        with pytest.raises(SystemExit):
            task.result()
        # No answer.
        _, answer = table.expect()
        reading = asyncio.create_task(read(answer, []))
        await asyncio.sleep(0)
        assert table.requests.sweep(LATER) is None
        with pytest.raises(TimeoutError):
            await reading
        assert isinstance(answer.exception(), TimeoutError)
        _, answer = table.expect()
        with pytest.raises(asyncio.InvalidStateError):
            answer.result()
        table.requests.fail(lambda: ConnectionError("over"))
        with pytest.raises(ConnectionError):
            await answer
        with pytest.raises(asyncio.InvalidStateError):
            answer.set_result(1)
        with pytest.raises(asyncio.InvalidStateError):
            answer.set_exception(KeyError())

    run(main)


def test_many_wait_and_each_gets_its_own(table: Table) -> None:
    async def main() -> None:
        order: list[int] = []
        waiting = []

        async def one(number: int, answer: Awaited) -> int:
            message = await answer
            order.append(message.correlation)
            message.release()
            return number

        for _ in range(100):
            number, answer = table.expect()
            waiting.append((number, asyncio.create_task(one(number, answer))))
        await asyncio.sleep(0)
        for number, _ in reversed(waiting):
            table.answer(number)
        assert order == [number for number, _ in reversed(waiting)]
        assert await asyncio.gather(*(task for _, task in waiting)) == sorted(order)

    run(main)
