"""The real SDK against a real socket: the loopback server in its own process."""

import asyncio
import logging
import os
import subprocess
import sys

import pytest

from ultrafast.errors import (
    ModelAuthError,
    ModelError,
    ModelOverloaded,
    ModelRateLimited,
    TaskFailed,
    TaskInvalid,
    TaskTimeout,
)
from ultrafast.executor.cache import LocalStore, ResultCache
from ultrafast.executor.claude import ClaudeConnectionPool
from ultrafast.executor.executor import OptimizedExecutor
from ultrafast.executor.model import Completion, Message, Model, ModelRequest
from ultrafast.executor.prices import Price
from ultrafast.executor.profiles import BUILTIN_PROFILES, Profile
from ultrafast.executor.tasks import Constraints, Task
from ultrafast.testing import Fault, LoopbackServer


@pytest.fixture(scope="module")
def running():
    with LoopbackServer() as server:
        yield server


@pytest.fixture
def server(running):
    running.reset()
    return running


def ask(**changes):
    given = {"model": "claude-sonnet-5-5", "messages": (Message("user", "Say hello"),), **changes}
    return ModelRequest(**given)


def with_pool(server, body, **settings):
    """Run `body(pool)` with a pool on the server, and close it."""

    async def main():
        settings.setdefault("api_key", "key")
        async with ClaudeConnectionPool(base_url=server.base_url, **settings) as pool:
            return await body(pool)

    return asyncio.run(main())


async def streamed(pool, request):
    return [item async for item in pool.stream(request)]


async def call(pool, request, stream):
    return (await streamed(pool, request))[-1] if stream else await pool.complete(request)


both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@both_ways
def test_an_answer_comes_with_its_usage(server, stream):
    async def body(pool):
        answer = await call(pool, ask(system="Be brief", effort="low"), stream)
        assert answer.text.startswith("[loopback] ")
        assert answer.text.endswith("Say hello")
        assert (answer.model, answer.stop_reason) == ("claude-sonnet-5-5", "end_turn")
        assert answer.usage.input_tokens == 5  # seventeen characters, four to a token
        assert answer.usage.output_tokens == -(-len(answer.text) // 4)
        assert (answer.via, answer.attempts) == ("loopback", 1)
        counts = pool.statistics()
        assert (counts.calls, counts.completed, counts.failed, counts.in_flight) == (1, 1, 0, 0)
        assert (counts.usage, counts.attempts) == (answer.usage, 1)

    with_pool(server, body)
    (record,) = server.requests()
    assert (record.system, record.stream, record.model) == ("Be brief", stream, "claude-sonnet-5-5")


def test_the_loopback_server_costs_nothing_whatever_the_prices(server):
    price = Price(input=9.0, output=9.0, cache_read=9.0, cache_write=9.0)

    async def body(pool):
        answer = await pool.complete(ask())
        assert answer.cost_usd is None
        assert (pool.statistics().cost_usd, pool.statistics().unpriced) == (0.0, 0)

    with_pool(server, body, prices={"claude-sonnet-5-5": price})


def test_the_pool_meets_the_protocol(server):
    assert isinstance(ClaudeConnectionPool(), Model)


def test_a_stream_comes_in_pieces(server):
    async def body(pool):
        items = await streamed(pool, ask())
        assert len(items) > 2
        assert isinstance(items[-1], Completion)
        assert "".join(items[:-1]) == items[-1].text

    with_pool(server, body)


@both_ways
@pytest.mark.parametrize("status", [429, 500, 529])
def test_a_passing_failure_is_retried(server, status, stream, caplog):
    caplog.set_level(logging.INFO, "anthropic")
    server.script(Fault(kind="status", status=status, retry_after_s=0.0625, times=2))

    async def body(pool):
        answer = await call(pool, ask(max_retries=2), stream)
        assert answer.attempts == 3
        assert pool.statistics().attempts == 3

    with_pool(server, body)
    assert [record.status for record in server.requests()] == [status, status, 200]
    assert [record.retry for record in server.requests()] == [0, 1, 2]
    waits = [record.getMessage() for record in caplog.records if "Retrying" in record.getMessage()]
    assert len(waits) == 2
    assert all("0.0625" in wait for wait in waits)  # what the server asked for, not a guess


@both_ways
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, TaskInvalid),
        (401, ModelAuthError),
        (402, ModelAuthError),
        (403, ModelAuthError),
        (404, TaskInvalid),
        (413, TaskInvalid),
        (429, ModelRateLimited),
        (500, ModelError),
        (529, ModelOverloaded),
    ],
)
def test_each_cause_has_its_error(server, status, error, stream):
    server.script(Fault(kind="status", status=status, retry_after_s=7.0))

    async def body(pool):
        with pytest.raises(error) as caught:
            await call(pool, ask(max_retries=0), stream)
        assert type(caught.value) is error
        assert f": {status} " in str(caught.value)
        assert "claude-sonnet-5-5" in str(caught.value)
        if isinstance(caught.value, ModelError):
            assert (caught.value.status, caught.value.attempts) == (status, 1)
            assert caught.value.request_id.startswith("req_")
        if error is ModelRateLimited:
            assert caught.value.retry_after_s == 7.0
        counts = pool.statistics()
        assert counts.errors == {error.__name__: 1}
        assert (counts.failed, counts.completed, counts.in_flight) == (1, 0, 0)

    with_pool(server, body)


def test_retries_have_an_end(server):
    server.script(Fault(kind="status", status=529, retry_after_s=0.01, times=9))

    async def body(pool):
        with pytest.raises(ModelOverloaded, match=r"3 attempt\(s\)") as caught:
            await pool.complete(ask(max_retries=2))
        assert caught.value.attempts == 3

    with_pool(server, body)
    assert server.statistics().requests == 3


def test_a_wrong_key_is_an_auth_error(server):
    async def body(pool):
        with pytest.raises(PermissionError, match="check the key"):
            await pool.complete(ask())

    with_pool(server, body, api_key="invalid")


def test_a_missing_key_is_said_before_anything_is_sent(server, monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("ANTHROPIC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # where the SDK's profiles would lie

    async def body(pool):
        with pytest.raises(ModelAuthError, match="ANTHROPIC_API_KEY"):
            await pool.warm()
        with pytest.raises(ModelAuthError, match="LoopbackServer"):
            await streamed(pool, ask())

    with_pool(server, body, api_key=None)
    assert server.statistics().requests == 0


def test_key_and_address_come_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "from-environment")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.base_url)
    # A server on this machine must not be looked for behind a proxy.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    async def main():
        async with ClaudeConnectionPool() as pool:
            return await pool.complete(ask(max_retries=0))

    assert asyncio.run(main()).via == "loopback"


@both_ways
def test_an_unknown_model_is_the_tasks_fault(server, stream):
    async def body(pool):
        with pytest.raises(TaskInvalid, match="gpt-x"):
            await call(pool, ask(model="gpt-x"), stream)

    with_pool(server, body)


@both_ways
@pytest.mark.parametrize("kind", ["cut", "invalid_json", "truncated"])
def test_a_broken_answer_is_a_model_error(server, kind, stream):
    server.script(Fault(kind=kind))

    async def body(pool):
        with pytest.raises(ModelError) as caught:
            await call(pool, ask(max_retries=0), stream)
        assert type(caught.value) is ModelError
        assert isinstance(caught.value, ConnectionError)
        assert (await call(pool, ask(), stream)).text  # the pool goes on

    with_pool(server, body)


@both_ways
def test_a_slow_answer_is_a_timeout(server, stream):
    async def body(pool):
        slow = ask(model="loopback-slow-100", timeout_s=0.2)
        with pytest.raises(TaskTimeout, match=r"0\.2 s") as caught:
            await call(pool, slow, stream)
        assert isinstance(caught.value, TimeoutError)
        assert pool.statistics().in_flight == 0
        assert (await call(pool, ask(), stream)).text

    with_pool(server, body)


def test_time_spent_on_retries_counts(server):
    async def body(pool):
        with pytest.raises(TaskTimeout):
            await pool.complete(ask(model="loopback-status-429-after-60", timeout_s=1.5))

    with_pool(server, body)
    assert server.statistics().by_status == {"429": 1}


def test_an_unreachable_server_is_a_model_error():
    async def main():
        async with ClaudeConnectionPool(base_url="http://127.0.0.1:9", api_key="k") as pool:
            with pytest.raises(ModelError, match=r"1 time\(s\).*127\.0\.0\.1:9") as caught:
                await pool.complete(ask(max_retries=0))
            assert caught.value.status is None

    asyncio.run(main())


def test_a_cancelled_call_leaves_the_pool_in_order(server):
    async def body(pool):
        await pool.warm()
        running = asyncio.create_task(pool.complete(ask(model="loopback-slow-100", timeout_s=90)))
        while not server.statistics().in_flight:
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert pool.statistics().in_flight == 0
        assert (await pool.complete(ask())).text

    with_pool(server, body, max_connections=1)


def test_a_stream_left_early_gives_its_connection_back(server):
    async def body(pool):
        for _ in range(3):
            pieces = pool.stream(ask())
            await anext(pieces)
            await pieces.aclose()
        assert pool.statistics().in_flight == 0
        assert (await pool.complete(ask())).text

    with_pool(server, body, max_connections=1)


def test_a_closed_pool_and_another_loop_are_refused(server):
    pool = ClaudeConnectionPool(base_url=server.base_url, api_key="k")
    asyncio.run(pool.warm())

    async def elsewhere():
        with pytest.raises(ModelError, match="event loop"):
            await pool.complete(ask())

    asyncio.run(elsewhere())

    async def closed(pool):
        await pool.aclose()
        await pool.aclose()
        with pytest.raises(ModelError, match="closed"):
            await pool.complete(ask())

    with_pool(server, closed)


async def weather(city: str) -> str:
    """What the weather is like.

    Args:
        city: Name of a city.
    """
    return f"rain in {city}"


def test_tools_are_run_and_their_results_sent_back(server):
    server.script(Fault(kind="tool_use", tool="weather", input={"city": "Oslo"}))

    async def body(pool):
        items = await streamed(pool, ask(tools=(weather,)))
        assert items[-1].text.endswith("The tools answered: rain in Oslo")
        assert items[0] == items[-1].text
        assert items[-1].attempts == 2
        first, second = server.requests()
        assert "rain in Oslo" in second.text
        assert "rain in Oslo" not in first.text
        # Both turns are counted: the sum is more than the last one alone could be.
        assert items[-1].usage.output_tokens > -(-len(items[-1].text) // 4)

    with_pool(server, body)


def test_tools_without_end_fail_the_task(server):
    server.script(Fault(kind="tool_use", tool="weather", input={"city": "Oslo"}, times=9))
    profile = Profile(type="p", system_prompt="Forecast.", tools=(weather,))

    async def body(pool):
        executor = OptimizedExecutor(pool)
        task = Task(id="t", objective="x", constraints=Constraints(max_turns=3))
        with pytest.raises(TaskFailed, match="after 3 turns"):
            await executor.execute(task, profile)

    with_pool(server, body)
    assert server.statistics().requests == 3


def test_requests_with_tools_are_neither_cached_nor_shared(server):
    profile = Profile(type="p", system_prompt="Forecast.", tools=(weather,))

    async def body(pool):
        executor = OptimizedExecutor(pool, cache=ResultCache(LocalStore()))
        task = Task(id="t", objective="x")
        await asyncio.gather(executor.execute(task, profile), executor.execute(task, profile))
        assert not (await executor.execute(task, profile)).cached

    with_pool(server, body)
    assert server.statistics().requests == 3


def test_a_batch_of_many_tasks_stays_within_its_limit(server):
    async def body(pool):
        executor = OptimizedExecutor(pool, concurrency=5, cache=ResultCache(LocalStore()))
        types = list(BUILTIN_PROFILES)
        tasks = [Task(id=f"t{n}", objective=f"Do {n}", type=types[n % 5]) for n in range(60)]
        results = await executor.execute_batch(tasks)
        assert [result.task_id for result in results] == [task.id for task in tasks]
        assert all(
            result.ok and result.text.endswith(task.objective)
            for result, task in zip(results, tasks, strict=True)
        )
        again = await executor.execute_batch(tasks)
        assert all(result.cached for result in again)
        assert [result.text for result in again] == [result.text for result in results]
        counts = executor.statistics()
        assert (counts.ok, counts.cached, counts.attempts) == (120, 60, 60)
        assert counts.usage == pool.statistics().usage

    with_pool(server, body)
    counts = server.statistics()
    assert counts.requests == 60
    assert counts.peak_in_flight <= 5


def test_identical_tasks_make_one_request(server):
    async def body(pool):
        executor = OptimizedExecutor(pool)
        tasks = [Task(id=f"t{n}", objective="the same") for n in range(20)]
        results = await executor.execute_batch(tasks)
        assert sum(not result.shared for result in results) == server.statistics().requests

    server.script(Fault(kind="slow", delay_s=0.3))
    with_pool(server, body)
    assert server.statistics().requests == 1


def test_text_is_passed_on_through_the_executor(server):
    async def body(pool):
        pieces = []
        result = await OptimizedExecutor(pool).execute(
            Task(id="t", objective="x"), on_text=pieces.append
        )
        assert len(pieces) > 2
        assert "".join(pieces) == result.text

    with_pool(server, body)


def test_the_sdk_is_not_imported_before_it_is_needed():
    code = (
        "import sys\n"
        "import ultrafast.executor.executor, ultrafast.executor.files, ultrafast.testing.loopback\n"
        "from ultrafast.executor.claude import ClaudeConnectionPool\n"
        "ClaudeConnectionPool()\n"
        "heavy = {'anthropic', 'httpx2', 'pydantic', 'starlette', 'uvicorn'} & set(sys.modules)\n"
        "print(sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""
