"""The executor over a scripted model: limits, deadlines, sharing, failures, counts."""

import asyncio
import contextlib

import pytest

from ultrafast.errors import ModelError, ModelOverloaded, TaskFailed, TaskInvalid, TaskTimeout
from ultrafast.executor.cache import LocalStore, ResultCache
from ultrafast.executor.executor import OptimizedExecutor
from ultrafast.executor.model import Completion, Model
from ultrafast.executor.profiles import Profile
from ultrafast.executor.tasks import Constraints, Task, Usage
from ultrafast.testing.scripted import ScriptedModel

# Long enough for any machine: what is tested ends when its condition holds.
LONG = 60.0


def task(name="t", **constraints):
    return Task(id=name, objective=f"do {name}", constraints=Constraints(**constraints))


class Gate:
    """A model whose answers wait until the test lets them go."""

    def __init__(self):
        self.open = asyncio.Event()
        self.running = self.peak = self.ended = 0

    async def __call__(self, request):
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await self.open.wait()
        finally:
            self.running -= 1
            self.ended += 1
        return request.messages[-1].content


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


def balance(executor):
    counts = executor.statistics()
    assert counts.submitted == counts.ok + counts.failed + counts.cancelled + counts.in_flight
    return counts


def test_a_task_becomes_a_result():
    async def main():
        model = ScriptedModel(["answer text"])
        executor = OptimizedExecutor(model, default_model="m")
        result = await executor.execute(task(), agent="a7")
        assert (result.status, result.text, result.model) == ("ok", "answer text", "m")
        assert (result.agent, result.via, result.attempts) == ("a7", "scripted", 1)
        assert result.usage.output_tokens == 2
        assert result.cost_usd is None
        assert result.duration_s >= 0
        assert "senior software engineer" in model.requests[0].system
        counts = balance(executor)
        assert (counts.ok, counts.usage) == (1, result.usage)

    asyncio.run(main())


def test_a_scripted_model_meets_the_protocol():
    assert isinstance(ScriptedModel([]), Model)


def test_no_more_than_the_limit_are_under_way():
    async def main():
        gate = Gate()
        executor = OptimizedExecutor(ScriptedModel(gate), concurrency=3)
        running = [
            asyncio.create_task(executor.execute(task(f"t{n}", timeout_s=LONG))) for n in range(8)
        ]
        await settle()
        assert gate.running == 3
        counts = balance(executor)
        assert (counts.in_flight, counts.waiting) == (8, 5)
        gate.open.set()
        results = await asyncio.gather(*running)
        assert [result.text for result in results] == [f"do t{n}" for n in range(8)]
        assert gate.peak == 3
        assert balance(executor).waiting == 0

    asyncio.run(main())


def test_time_runs_while_waiting_for_a_place():
    async def main():
        gate = Gate()
        executor = OptimizedExecutor(ScriptedModel(gate), concurrency=1)
        first = asyncio.create_task(executor.execute(task("first", timeout_s=LONG)))
        await settle()
        with pytest.raises(TaskTimeout, match="'late'"):
            await executor.execute(task("late", timeout_s=0.02))
        gate.open.set()
        assert (await first).ok
        counts = balance(executor)
        assert (counts.ok, counts.failed, counts.errors) == (1, 1, {"TaskTimeout": 1})

    asyncio.run(main())


def test_a_timeout_gives_its_place_back():
    async def main():
        gate = Gate()
        executor = OptimizedExecutor(ScriptedModel(gate), concurrency=1)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await executor.execute(task(timeout_s=0.1))
        assert (gate.running, gate.ended) == (0, 3)
        gate.open.set()
        assert (await executor.execute(task(timeout_s=LONG))).ok

    asyncio.run(main())


def test_a_cancelled_task_gives_its_place_back():
    async def main():
        gate = Gate()
        executor = OptimizedExecutor(ScriptedModel(gate), concurrency=1)
        running = asyncio.create_task(executor.execute(task(timeout_s=LONG)))
        await settle()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert gate.running == 0
        gate.open.set()
        assert (await executor.execute(task("next", timeout_s=LONG))).ok
        counts = balance(executor)
        assert (counts.cancelled, counts.ok, counts.in_flight) == (1, 1, 0)

    asyncio.run(main())


def test_a_batch_keeps_its_order_and_its_failures():
    async def main():
        def answer(request):
            text = request.messages[-1].content
            return ModelOverloaded("busy", attempts=3) if text == "do t2" else text

        seen = []
        executor = OptimizedExecutor(ScriptedModel(answer), concurrency=2)
        batch = [task(f"t{n}") for n in range(5)]
        batch.append(Task(id="odd", objective="x", type="astronaut"))
        results = await executor.execute_batch(batch, on_result=seen.append)
        assert [result.task_id for result in results] == ["t0", "t1", "t2", "t3", "t4", "odd"]
        assert [result.ok for result in results] == [True, True, False, True, True, False]
        assert (results[2].error, results[2].error_type) == ("busy", "ModelOverloaded")
        assert results[2].attempts == 3
        assert results[5].error_type == "TaskInvalid"
        assert sorted(result.task_id for result in seen) == sorted(t.id for t in batch)
        assert balance(executor).attempts == 4 + 3

    asyncio.run(main())


def test_a_batch_does_not_use_up_the_time_of_its_later_tasks():
    async def main():
        """The last would be late if its time began with the batch: two go before it."""

        async def answer(request):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.3)
            return "done"

        executor = OptimizedExecutor(ScriptedModel(answer), concurrency=1)
        results = await executor.execute_batch([task(f"t{n}", timeout_s=0.8) for n in range(4)])
        assert [result.status for result in results] == ["ok"] * 4

    asyncio.run(main())


def test_profiles_of_a_batch_are_found_by_type():
    async def main():
        model = ScriptedModel(["hi", "ho"])
        executor = OptimizedExecutor(model, concurrency=1)
        mine = Profile(type="greeter", system_prompt="Greet.", model="small")
        batch = [Task(id="g", objective="x", type="greeter"), Task(id="c", objective="x")]
        results = await executor.execute_batch(batch, {"greeter": mine})
        assert [result.ok for result in results] == [True, True]
        assert (model.requests[0].system, model.requests[0].model) == ("Greet.", "small")
        assert "engineer" in model.requests[1].system

    asyncio.run(main())


def test_an_answer_from_the_cache_costs_nothing():
    async def main():
        paid = Completion(
            text="a", model="m", stop_reason="end_turn", usage=Usage(output_tokens=9), cost_usd=0.5
        )
        model = ScriptedModel([paid])
        executor = OptimizedExecutor(model, cache=ResultCache(LocalStore()))
        first = await executor.execute(task("one"))
        again = await executor.execute(Task(id="two", objective="do one"))
        assert (first.cached, again.cached) == (False, True)
        assert (again.text, again.task_id, again.attempts) == ("a", "two", 0)
        assert (again.usage, again.cost_usd) == (Usage(), 0.0)
        counts = balance(executor)
        assert (counts.cached, counts.cost_usd, counts.usage.output_tokens) == (1, 0.5, 9)
        assert len(model.requests) == 1

    asyncio.run(main())


def test_a_task_may_refuse_the_cache():
    async def main():
        model = ScriptedModel(["a", "b"])
        executor = OptimizedExecutor(model, cache=ResultCache(LocalStore()))
        texts = [(await executor.execute(task(cache=False))).text for _ in range(2)]
        assert texts == ["a", "b"]

    asyncio.run(main())


def test_identical_tasks_under_way_are_made_once():
    async def main():
        gate = Gate()
        model = ScriptedModel(gate)
        executor = OptimizedExecutor(model)
        running = [
            asyncio.create_task(
                executor.execute(
                    Task(id=f"t{n}", objective="same", constraints=Constraints(timeout_s=LONG))
                )
            )
            for n in range(4)
        ]
        await settle()
        running[0].cancel()
        await asyncio.wait({running[0]})
        gate.open.set()
        results = await asyncio.gather(*running[1:])
        assert [result.task_id for result in results] == ["t1", "t2", "t3"]
        assert all(result.shared and result.text == "same" for result in results)
        assert len(model.requests) == 1
        counts = balance(executor)
        assert (counts.cancelled, counts.ok, counts.shared, counts.attempts) == (1, 3, 3, 1)

    asyncio.run(main())


def test_one_with_more_time_begins_anew_when_the_first_ran_out_of_it():
    async def main():
        asked = []

        async def answer(request):
            asked.append(request.timeout_s)
            if len(asked) == 1:
                # What a client does whose own deadline is the request's.
                await asyncio.sleep(request.timeout_s / 2)
                raise TaskTimeout("out of time")
            return "answer"

        executor = OptimizedExecutor(ScriptedModel(answer))
        hasty = asyncio.create_task(executor.execute(task(timeout_s=0.1)))
        await settle()
        patient = asyncio.create_task(executor.execute(task(timeout_s=LONG)))
        assert (await patient).text == "answer"
        with pytest.raises(TaskTimeout):
            await hasty
        assert len(asked) == 2
        assert asked[1] > 1.0

    asyncio.run(main())


def test_text_is_passed_on_as_it_comes():
    async def main():
        pieces = []
        executor = OptimizedExecutor(ScriptedModel(["one two three"]))
        result = await executor.execute(task(), on_text=pieces.append)
        assert pieces == ["one ", "two ", "three"]
        assert result.text == "one two three"

    asyncio.run(main())


def test_a_cached_text_is_passed_on_whole():
    async def main():
        pieces = []
        executor = OptimizedExecutor(ScriptedModel(["one two"]), cache=ResultCache(LocalStore()))
        await executor.execute(task(), on_text=pieces.append)
        result = await executor.execute(task(), on_text=pieces.append)
        assert result.cached
        assert pieces == ["one ", "two", "one two"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("stop_reason", "text", "said"),
    [
        ("refusal", "I can't", "refused"),
        ("tool_use", "let me see", "max_turns"),
        ("max_tokens", " ", "before it wrote any text"),
        ("end_turn", "", "without text"),
    ],
)
def test_an_answer_that_is_no_result_fails_and_is_not_kept(stop_reason, text, said):
    async def main():
        bad = Completion(
            text=text, model="m", stop_reason=stop_reason, usage=Usage(output_tokens=5)
        )
        model = ScriptedModel([bad, "good"])
        executor = OptimizedExecutor(model, cache=ResultCache(LocalStore()))
        with pytest.raises(TaskFailed, match=said) as caught:
            await executor.execute(task())
        assert "'t'" in str(caught.value)
        assert executor.statistics().usage.output_tokens == 5
        assert (await executor.execute(task())).text == "good"

    asyncio.run(main())


def test_an_answer_cut_at_its_limit_is_a_result_that_says_so():
    async def main():
        cut = Completion(text="half a", model="m", stop_reason="max_tokens")
        result = await OptimizedExecutor(ScriptedModel([cut])).execute(task())
        assert (result.status, result.stop_reason) == ("ok", "max_tokens")

    asyncio.run(main())


def test_a_model_that_breaks_its_promise_fails_the_task_and_not_the_batch():
    async def main():
        executor = OptimizedExecutor(ScriptedModel([KeyError("oops"), "fine"]), concurrency=1)
        results = await executor.execute_batch([task("a"), task("b")])
        assert [result.ok for result in results] == [False, True]
        assert (results[0].error_type, results[0].error) == (
            "TaskFailed",
            "task 'a': KeyError: 'oops'",
        )

    asyncio.run(main())


def test_typed_errors_come_through_as_they_are():
    async def main():
        executor = OptimizedExecutor(ScriptedModel([ModelError("down", status=500)]))
        with pytest.raises(ModelError) as caught:
            await executor.execute(task())
        assert (caught.value.status, str(caught.value)) == (500, "down")
        with pytest.raises(TaskInvalid, match="astronaut"):
            await executor.execute(Task(id="x", objective="y", type="astronaut"))
        with pytest.raises(ModelError, match="held 1 answers"):
            await executor.execute(task("more"))

    asyncio.run(main())


def test_closing_closes_the_model():
    async def main():
        closed = []

        class Closing(ScriptedModel):
            async def aclose(self):
                closed.append(1)

        async with OptimizedExecutor(Closing([])):
            pass
        assert closed == [1]
        async with OptimizedExecutor(ScriptedModel([])):
            pass

    asyncio.run(main())
