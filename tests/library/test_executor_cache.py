"""Cached answers and shared calls, by a clock that only the test moves."""

import asyncio
from collections import OrderedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrafast.errors import ModelError, UltrafastError
from ultrafast.executor.cache import LocalStore, ResultCache, SingleFlight, TTLMap, request_key
from ultrafast.executor.model import Completion, Message, ModelRequest
from ultrafast.executor.tasks import Usage


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 5), st.sampled_from([None, 1.0, 5.0])),
        st.tuples(st.just("get"), st.integers(0, 5)),
        st.tuples(st.just("delete"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0, 3.0])),
    ),
    max_size=60,
)


@given(_steps)
def test_ttl_map_behaves_like_a_plain_model(steps):
    clock = Clock()
    real = TTLMap(max_entries=3, ttl_s=2.0, clock=clock)
    model = OrderedDict()  # key -> (until, value), least recently used first
    for number, (verb, argument, *rest) in enumerate(steps):
        if verb == "wait":
            clock.now += argument
        elif verb == "set":
            real.set(argument, number, ttl_s=rest[0])
            model[argument] = (clock.now + (2.0 if rest[0] is None else rest[0]), number)
            model.move_to_end(argument)
            if len(model) > 3:
                model.popitem(last=False)
        elif verb == "delete":
            assert real.delete(argument) == (model.pop(argument, None) is not None)
        else:
            expected = None
            if argument in model:
                until, value = model[argument]
                if clock.now < until:
                    expected = value
                    model.move_to_end(argument)
                else:
                    del model[argument]
            assert real.get(argument) == expected
        assert len(real) == len(model)


def test_ttl_map_counts_what_happens():
    clock = Clock()
    kept = TTLMap(max_entries=1, ttl_s=1.0, clock=clock)
    kept.set("a", 1)
    kept.set("b", 2)
    assert kept.get("b") == 2
    assert kept.get("a", 7) == 7
    clock.now += 1.0
    assert kept.get("b") is None
    counts = kept.statistics()
    assert (counts.hits, counts.misses, counts.expired, counts.evicted) == (1, 2, 1, 1)


@pytest.mark.parametrize("wrong", [{"max_entries": 0}, {"ttl_s": 0}])
def test_ttl_map_refuses_senseless_limits(wrong):
    with pytest.raises(ValueError, match="must be"):
        TTLMap(**wrong)


ANSWER = Completion(text="t", model="m", usage=Usage(output_tokens=4), cost_usd=0.5, via="api")


def test_an_answer_is_kept_for_its_time_and_no_longer():
    clock = Clock()
    cache = ResultCache(LocalStore(clock=clock), ttl_s=10.0)
    cache.set("k", ANSWER)
    clock.now += 9.9
    assert cache.get("k") == ANSWER
    clock.now += 0.2
    assert cache.get("k") is None
    counts = cache.statistics()
    assert (counts.hits, counts.misses, counts.stored, counts.errors) == (1, 1, 1, 0)


def test_a_damaged_entry_is_a_miss():
    store = LocalStore()
    cache = ResultCache(store, namespace="n")
    store.set("n", "k", b"\x93not msgpack of ours", ttl_s=5.0)
    assert cache.get("k") is None
    store.set("n", "k", msgspec.msgpack.encode({"text": "no model"}), ttl_s=5.0)
    assert cache.get("k") is None
    assert cache.statistics().errors == 2


def test_a_broken_store_costs_the_cache_and_not_the_task():
    class Full:
        def get(self, namespace, key):
            raise UltrafastError("gone")

        def set(self, namespace, key, value, *, ttl_s=None):
            raise UltrafastError("full")

    cache = ResultCache(Full())
    cache.set("k", ANSWER)
    assert cache.get("k") is None
    counts = cache.statistics()
    assert (counts.stored, counts.errors, counts.misses) == (0, 2, 1)


REQUEST = ModelRequest(model="m", messages=(Message("user", "hello"),), system="s")


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"system": "t"},
        {"messages": (Message("user", "hullo"),)},
        {"messages": (Message("assistant", "hello"),)},
        {"max_tokens": 9},
        {"effort": "low"},
    ],
)
def test_whatever_decides_the_answer_changes_the_key(change):
    assert request_key(msgspec.structs.replace(REQUEST, **change)) != request_key(REQUEST)


@pytest.mark.parametrize("change", [{"timeout_s": 1.0}, {"max_retries": 0}, {"max_turns": 1}])
def test_how_long_one_tries_does_not_change_the_key(change):
    assert request_key(msgspec.structs.replace(REQUEST, **change)) == request_key(REQUEST)


def test_calls_of_the_same_key_are_made_once():
    async def main():
        flights, gate, made = SingleFlight(), asyncio.Event(), []

        async def make():
            made.append(1)
            await gate.wait()
            return "answer"

        waiting = [asyncio.create_task(flights.run("k", make)) for _ in range(5)]
        other = asyncio.create_task(flights.run("other", make))
        await asyncio.sleep(0)
        assert len(flights) == 2
        gate.set()
        answers = await asyncio.gather(*waiting)
        await other
        assert len(made) == 2
        assert [joined for _, joined in answers] == [False, True, True, True, True]
        assert {answer for answer, _ in answers} == {"answer"}
        assert len(flights) == 0
        assert (await flights.run("k", make))[1] is False
        assert len(made) == 3

    asyncio.run(main())


@pytest.mark.parametrize("leaver", [0, 1, 2])
def test_one_who_gives_up_leaves_the_call_to_the_others(leaver):
    async def main():
        flights, gate = SingleFlight(), asyncio.Event()

        async def make():
            await gate.wait()
            return "answer"

        waiting = [asyncio.create_task(flights.run("k", make)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[leaver].cancel()
        await asyncio.wait({waiting[leaver]})
        assert waiting[leaver].cancelled()
        gate.set()
        rest = [task for index, task in enumerate(waiting) if index != leaver]
        assert [answer for answer, _ in await asyncio.gather(*rest)] == ["answer", "answer"]

    asyncio.run(main())


def test_when_the_last_gives_up_the_call_is_cancelled_and_has_ended():
    async def main():
        flights, ended = SingleFlight(), []

        async def make():
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.append(1)

        waiting = [asyncio.create_task(flights.run("k", make)) for _ in range(2)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.wait({waiting[0]})
        assert not ended
        waiting[1].cancel()
        await asyncio.wait({waiting[1]})
        assert ended == [1]
        assert len(flights) == 0

    asyncio.run(main())


def test_an_error_reaches_everybody_and_is_not_kept():
    async def main():
        flights, gate = SingleFlight(), asyncio.Event()

        async def fail():
            await gate.wait()
            raise ModelError("down")

        async def work():
            return "up"

        waiting = [asyncio.create_task(flights.run("k", fail)) for _ in range(3)]
        await asyncio.sleep(0)
        gate.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(answer) for answer in answers] == ["down"] * 3
        assert await flights.run("k", work) == ("up", False)

    asyncio.run(main())
