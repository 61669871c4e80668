"""Handlers of events: who is called, when, how many at a time, and what a failing one costs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrafast.bus.events import EnhancedEventBus, Event, Registration
from ultrafast.errors import InvalidArgument, RegionClosed, SubjectError, Timeout


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, timeout=30))


async def settled(bus: EnhancedEventBus) -> None:
    """Until no call waits or runs."""
    while bus.statistics().waiting or bus.statistics().running:
        await asyncio.sleep(0)


def note(into: list[Any], what: str | None = None) -> Callable[[Event], None]:
    return lambda event: into.append(event.payload if what is None else (what, event.payload))


def test_sync_and_async_handlers_get_what_falls_under_their_pattern() -> None:
    async def main() -> None:
        bus = EnhancedEventBus(clock=lambda: 12.5)
        seen: list[Any] = []

        async def slow(event: Event) -> None:
            await asyncio.sleep(0)
            seen.append(("slow", event.subject, event.payload, event.time_s))

        bus.on("agent.*.died", slow)
        bus.on("agent.>", lambda event: seen.append(("quick", event.subject)))
        assert await bus.emit("agent.coder.died", {"id": 3}) == 2
        assert await bus.emit("agent.coder.born") == 1
        assert await bus.emit("worker.died") == 0
        assert sorted(seen) == [
            ("quick", "agent.coder.born"),
            ("quick", "agent.coder.died"),
            ("slow", "agent.coder.died", {"id": 3}, 12.5),
        ]
        statistics = bus.statistics()
        assert (statistics.emitted, statistics.handled, statistics.failed) == (3, 3, 0)
        assert (statistics.handlers, statistics.waiting, statistics.running) == (2, 0, 0)

    run(main())


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12))
def test_priorities_decide_who_begins_first(priorities: list[int]) -> None:
    async def main() -> None:
        bus = EnhancedEventBus(workers=1)
        order: list[tuple[int, int]] = []
        for number, priority in enumerate(priorities):
            bus.on("x", lambda _, p=priority, n=number: order.append((-p, n)), priority=priority)
        assert await bus.emit("x") == len(priorities)
        assert order == sorted(order)

    run(main())


def test_one_handler_gets_the_events_in_their_order() -> None:
    async def main() -> None:
        bus = EnhancedEventBus(workers=1)
        seen: list[int] = []
        bus.on("x.*", note(seen))
        for number in range(200):
            assert (bus.emit_soon if number % 2 else bus.deliver)("x.y", number)
        assert seen == []  # nobody is called before the caller has gone on
        await settled(bus)
        assert seen == list(range(200))
        assert (bus.statistics().emitted, bus.statistics().delivered) == (100, 100)

    run(main())


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_handlers_at_once_than_workers(workers: int) -> None:
    async def main() -> None:
        bus = EnhancedEventBus(workers=workers)
        now, most = 0, 0

        async def handler(event: Event) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            assert bus.statistics().running == now
            await asyncio.sleep(0.001)
            now -= 1

        for _ in range(5):
            bus.on("x", handler)
        assert await asyncio.gather(*[bus.emit("x") for _ in range(4)]) == [5] * 4
        assert most == workers and bus.statistics().handled == 20

    run(main())


def test_calls_that_come_while_the_last_worker_ends_are_not_forgotten() -> None:
    async def main() -> None:
        bus = EnhancedEventBus(workers=1)
        seen: list[int] = []

        def handler(event: Event) -> None:
            seen.append(event.payload)
            if event.payload < 50:
                # Runs just after the worker has found nothing more to do.
                asyncio.get_running_loop().call_soon(bus.emit_soon, "x", event.payload + 1)

        bus.on("x", handler)
        await bus.emit("x", 0)
        while len(seen) < 51:
            await asyncio.sleep(0)
        assert seen == list(range(51))

    run(main())


def test_a_failing_handler_is_reported_and_the_others_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        reported: list[tuple[Event, Registration, Exception]] = []
        bus = EnhancedEventBus(on_error=lambda *what: reported.append(what))
        seen: list[Any] = []

        async def cancels_itself(event: Event) -> None:
            raise asyncio.CancelledError

        def fails(event: Event) -> None:
            raise ValueError("no")

        registrations = [bus.on("x", fails), bus.on("x", cancels_itself), bus.on("x", note(seen))]
        assert await bus.emit("x", 1) == 1
        assert await bus.emit("x", 2) == 1
        assert seen == [1, 2]
        assert [type(error) for _, _, error in reported] == [ValueError, RuntimeError] * 2
        assert reported[0][0].payload == 1 and reported[0][1] is registrations[0]
        assert [each.failed for each in registrations] == [2, 2, 0]
        assert [each.handled for each in registrations] == [0, 0, 2]
        assert bus.statistics().failed == 4

    with caplog.at_level(logging.ERROR):
        run(main())
    assert not caplog.records


def test_without_a_callback_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        bus = EnhancedEventBus()

        def fails(event: Event) -> None:
            raise ValueError("no")

        bus.on("x", fails)
        await bus.emit("x")

        def on_error(*what: object) -> None:
            raise OSError("neither")

        worse = EnhancedEventBus(on_error=on_error)
        worse.on("x", fails)
        assert await worse.emit("x") == 0

    with caplog.at_level(logging.ERROR):
        run(main())
    kinds = [record.exc_info[0] for record in caplog.records if record.exc_info]
    assert kinds == [ValueError, OSError, ValueError]


def test_filters() -> None:
    async def main() -> None:
        reported: list[Exception] = []
        bus = EnhancedEventBus(on_error=lambda event, registration, error: reported.append(error))
        seen: list[int] = []
        other: list[int] = []
        bus.on("x", note(seen), filter=lambda event: event.payload % 2 == 1)
        bus.on("x", note(other), filter=lambda event: 1 // event.payload > 0)
        assert [await bus.emit("x", number) for number in (0, 1, 2, 3)] == [0, 2, 0, 1]
        assert seen == [1, 3] and other == [1]
        assert [type(each) for each in reported] == [ZeroDivisionError]
        assert bus.statistics().failed == 1

    run(main())


def test_once_is_once_however_many_events_wait() -> None:
    async def main() -> None:
        bus = EnhancedEventBus(workers=1)
        seen: list[int] = []
        bus.once("x", note(seen), filter=lambda event: event.payload > 1)
        for number in range(5):
            bus.emit_soon("x", number)
        await settled(bus)
        assert seen == [2]
        assert bus.statistics().handlers == 0

    run(main())


def test_after_off_no_call_begins() -> None:
    async def main() -> None:
        bus = EnhancedEventBus(workers=1)
        seen: list[int] = []
        registration = bus.on("x", note(seen))
        bus.emit_soon("x", 1)
        assert bus.off(registration) is True
        assert bus.off(registration) is False
        bus.emit_soon("x", 2)
        await settled(bus)
        assert seen == []
        assert await bus.emit("x", 3) == 0

    run(main())


def test_wait_for() -> None:
    async def main() -> None:
        bus = EnhancedEventBus()
        waiting = asyncio.ensure_future(
            bus.wait_for("a.*", 20, filter=lambda event: event.payload > 1)
        )
        await asyncio.sleep(0)
        assert bus.statistics().handlers == 1
        for number in range(4):
            bus.emit_soon("a.b", number)
        assert (await waiting).payload == 2
        assert bus.statistics().handlers == 0

        with pytest.raises(Timeout, match=r"no event under 'a\.\*' came in 0\.001 s"):
            await bus.wait_for("a.*", 0.001)
        with pytest.raises(TimeoutError):
            await bus.wait_for("a.*", 0)

        broken = asyncio.ensure_future(bus.wait_for("a.*", filter=lambda event: event.none))  # type: ignore[attr-defined]  # what is tested
        await asyncio.sleep(0)
        bus.emit_soon("a.b")
        with pytest.raises(AttributeError):
            await broken

        given_up = asyncio.ensure_future(bus.wait_for("a.*"))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert bus.statistics().handlers == 0
        with pytest.raises(SubjectError):
            await bus.wait_for("a..b")

    run(main())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_handler_may_emit_and_wait_in_turn(workers: int) -> None:
    async def main() -> None:
        bus = EnhancedEventBus(workers=workers)
        seen: list[Any] = []

        async def handler(event: Event) -> None:
            if event.payload > 0:
                assert await bus.emit("x", event.payload - 1) == 3
            seen.append(event.payload)

        bus.on("x", note(seen, "low"), priority=-1)
        bus.on("x", handler)
        bus.on("x", note(seen, "high"), priority=1)
        assert await bus.emit("x", 2) == 3
        inner = [0 if each == 0 else each for each in seen if isinstance(each, int)]
        assert inner == [0, 1, 2]
        assert seen.index(("high", 0)) < seen.index(0) < seen.index(("low", 0))
        assert bus.statistics().handled == 9

    run(main())


def test_a_task_that_a_handler_left_behind_emits_like_anybody_else() -> None:
    async def main() -> None:
        bus = EnhancedEventBus(workers=1)
        left: list[asyncio.Task[int]] = []
        seen: list[str] = []
        free = asyncio.Event()

        async def later() -> int:
            while bus.statistics().running:
                await asyncio.sleep(0)  # until the handler that began this has ended
            bus.emit_soon("busy")
            await asyncio.sleep(0)
            return await bus.emit("y")

        async def starts(event: Event) -> None:
            left.append(asyncio.create_task(later()))

        async def busy(event: Event) -> None:
            await free.wait()
            seen.append("busy")

        bus.on("x", starts)
        bus.on("busy", busy)
        bus.on("y", lambda event: seen.append("y"))
        await bus.emit("x")
        for _ in range(20):
            await asyncio.sleep(0)
        assert (bus.statistics().running, bus.statistics().waiting, seen) == (1, 1, [])
        free.set()
        assert await left[0] == 1
        assert seen == ["busy", "y"]

    run(main())


def test_replay() -> None:
    async def main() -> None:
        bus = EnhancedEventBus(workers=1, history=4)
        for number in range(6):
            bus.emit_soon("odd" if number % 2 else "even", number)
        assert [event.payload for event in bus.recent()] == [2, 3, 4, 5]
        assert [event.payload for event in bus.recent("odd")] == [3, 5]
        assert [event.payload for event in bus.recent(">", 2)] == [4, 5]
        assert bus.recent(">", 0) == []
        seen: list[int] = []
        bus.on(">", note(seen), replay=3, filter=lambda event: event.payload != 4)
        bus.emit_soon("even", 6)
        await settled(bus)
        assert seen == [3, 5, 6]
        assert bus.statistics().kept == 4

    run(main())


def test_too_many_waiting_calls_are_refused_and_an_emit_that_waits_is_not() -> None:
    async def main() -> None:
        bus = EnhancedEventBus(workers=1, max_waiting=3)
        seen: list[int] = []
        bus.on("x", note(seen))
        answers = [bus.emit_soon("x", number) for number in range(5)]
        assert answers == [True] * 3 + [False] * 2
        assert bus.deliver("x", 5) is False
        assert await bus.emit("x", 6) == 1
        assert seen == [0, 1, 2, 6]
        statistics = bus.statistics()
        assert (statistics.emitted, statistics.delivered, statistics.refused) == (4, 0, 3)
        assert bus.emit_soon("x", 7) is True

    run(main())


def test_what_happens_here_is_published_and_what_comes_from_elsewhere_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        published: list[Any] = []

        def publisher(subject: str, payload: Any) -> None:
            if payload == 13:
                raise ConnectionError("unlucky")
            published.append((subject, payload))

        bus = EnhancedEventBus(publisher=publisher)
        seen: list[int] = []
        bus.on(">", note(seen))
        await bus.emit("a", 1)
        bus.emit_soon("b", 2)
        bus.deliver("c", 3)
        assert await bus.emit("d", 13) == 1
        await settled(bus)
        assert published == [("a", 1), ("b", 2)]
        assert sorted(seen) == [1, 2, 3, 13]
        assert bus.statistics().publish_failed == 1

    with caplog.at_level(logging.ERROR):
        run(main())
    assert "unlucky" in caplog.text


def test_quick_handlers_leave_the_loop_to_others() -> None:
    async def main() -> None:
        bus = EnhancedEventBus(workers=1)
        seen: list[int] = []
        bus.on("x", note(seen))
        for number in range(1000):
            bus.emit_soon("x", number)
        turns = 0
        while len(seen) < 1000:
            await asyncio.sleep(0)
            turns += 1
        assert turns > 10

    run(main())


def test_close_waits_then_cancels() -> None:
    async def main() -> None:
        bus = EnhancedEventBus(workers=1)
        ended: list[str] = []
        never = asyncio.Event()

        async def short(event: Event) -> None:
            await asyncio.sleep(0.001)
            ended.append("short")

        async def endless(event: Event) -> None:
            try:
                await never.wait()
            finally:
                ended.append("endless")

        bus.on("short", short)
        bus.on("endless", endless)
        waiting = asyncio.ensure_future(bus.wait_for("none"))
        bus.emit_soon("short")
        emitting = asyncio.ensure_future(bus.emit("endless"))
        behind = asyncio.ensure_future(bus.emit("short"))
        await asyncio.sleep(0)
        await bus.close(timeout_s=0.5)  # so long, and no less, is waited for the endless one
        assert ended == ["short", "endless"]
        assert [await emitting, await behind] == [0, 0]
        with pytest.raises(RegionClosed):
            await waiting
        await bus.close()
        assert bus.emit_soon("short") is False and bus.deliver("short") is False
        refused: list[Callable[[], Awaitable[object]]] = [
            lambda: bus.emit("short"),
            lambda: bus.wait_for("short"),
        ]
        for call in refused:
            with pytest.raises(RegionClosed):
                await call()
        with pytest.raises(RegionClosed):
            bus.on("short", short)
        assert bus.statistics().refused == 2
        assert len(asyncio.all_tasks()) <= 2  # this one and its watchdog

    run(main())


def test_a_handler_may_close_the_bus() -> None:
    async def main() -> None:
        bus = EnhancedEventBus()
        bus.on("x", lambda event: bus.close())
        assert await bus.emit("x") == 1

    run(main())


@pytest.mark.parametrize("subject", ["", "a.*", ">", "a b"])
def test_wrong_subjects_and_patterns(subject: str) -> None:
    async def main() -> None:
        bus = EnhancedEventBus()
        with pytest.raises(SubjectError):
            await bus.emit(subject)
        with pytest.raises(SubjectError):
            bus.emit_soon(subject)
        with pytest.raises(SubjectError):
            bus.deliver(subject)
        with pytest.raises(SubjectError):
            bus.on("a..b", lambda event: None)
        assert bus.statistics().kept == bus.statistics().handlers == 0

    run(main())


@pytest.mark.parametrize("settings", [{"workers": 0}, {"history": -1}, {"max_waiting": 0}])
def test_wrong_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=str(next(iter(settings)))):
        EnhancedEventBus(**settings)


def test_an_interest_that_is_refused_leaves_nothing_behind() -> None:
    async def main() -> None:
        bus = EnhancedEventBus()
        told: list[tuple[str, bool]] = []

        def refuse(pattern: str, wanted: bool) -> None:
            raise MemoryError("full")

        bus.connect(None, refuse)
        with pytest.raises(MemoryError):
            bus.on("x", lambda event: None)
        with pytest.raises(MemoryError):
            await bus.wait_for("x", 1)
        assert bus.statistics().handlers == 0
        bus.connect(None, lambda pattern, wanted: told.append((pattern, wanted)))
        registrations = [bus.on("x", lambda event: None) for _ in range(2)]
        for registration in registrations:
            bus.off(registration)
        assert told == [("x", True), ("x", False)]

    run(main())
