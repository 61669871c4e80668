"""The manager over real workers: agents, messages, failures, the end."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import ultrafast as uf
from system.waiting import until
from ultrafast import errors
from ultrafast.metric_names import Counter

pytestmark = pytest.mark.usefixtures("clean_shm")

SMALL = {"max_concurrent_agents": 200, "agent_pool": uf.AgentPoolConfig(pre_warm={"coder": 2})}


class Echo(uf.Agent):
    """Answers what it gets, with the process that hosts it."""

    def on_message(self, message: uf.IncomingMessage) -> Any:
        return {"body": message.body, "pid": os.getpid(), "id": self.id}


class Slow(uf.Agent):
    """Suspends, notes the order, fails when told."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.started = False

    async def on_start(self) -> None:
        await asyncio.sleep(0.01)
        self.started = True

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        assert self.started
        body = message.body
        if body == "seen":
            return self.seen
        if body == "fail":
            raise ZeroDivisionError("as you wish")
        await asyncio.sleep(0.001)
        self.seen.append(body)
        return None


class Spawning(uf.Agent):
    """Spawns, asks and stops another agent."""

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        other = await self.context.spawn_agent("echo")
        answer = await self.context.request(other, message.body)
        stopped = await self.context.terminate_agent(other)
        return [answer["body"], stopped]


class Warmed(uf.Agent):
    """Says whether it was warmed."""

    warmed = False

    async def on_warm(self) -> None:
        await asyncio.sleep(0)
        self.warmed = True

    def on_message(self, message: uf.IncomingMessage) -> Any:
        return self.warmed


class BadStart(uf.Agent):
    """Never starts."""

    def on_start(self) -> None:
        raise RuntimeError("no")


def run(body: Callable[[uf.UltraFastAgentManager], Awaitable[None]], **config: Any) -> None:
    async def main() -> None:
        async with uf.UltraFastAgentManager(uf.Config(**{"workers": 2, **SMALL, **config})) as m:
            for name, cls in {"echo": Echo, "slow": Slow, "spawning": Spawning}.items():
                m.register(name, cls)
            await body(m)

    asyncio.run(main())


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_request_is_answered_by_the_worker_that_hosts_the_agent(workers: int) -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        ids = await m.spawn_agents("echo", 4)
        answers = [await m.request(None, i, {"n": n}) for n, i in enumerate(ids)]
        assert [a["body"] for a in answers] == [{"n": n} for n in range(4)]
        assert [a["id"] for a in answers] == ids
        hosts = {a["pid"] for a in answers}
        running = {worker.pid for worker in m.statistics().workers}
        assert hosts == ({os.getpid()} if workers == 0 else running)

    run(body, workers=workers)


def test_messages_of_one_sender_arrive_in_order_one_at_a_time() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        slow = await m.spawn_agent("slow")
        for n in range(100):
            assert await m.send_message(None, slow, n, timeout_s=5.0)
        assert await m.request(None, slow, "seen", timeout_s=10.0) == list(range(100))

    run(body)


def test_an_agents_error_reaches_the_asker_and_the_agent_goes_on() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        slow = await m.spawn_agent("slow")
        with pytest.raises(errors.AgentError, match="ZeroDivisionError: as you wish"):
            await m.request(None, slow, "fail")
        assert await m.request(None, slow, "seen") == []

    run(body)


def test_an_agent_spawns_asks_and_stops_another() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        spawning = await m.spawn_agent("spawning")
        assert await m.request(None, spawning, "hi", timeout_s=10.0) == ["hi", True]

    run(body)


def test_a_terminated_agent_handles_what_it_has_and_its_id_is_stale() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        slow = await m.spawn_agent("slow")
        before = m.metrics_counter(Counter.HANDLED)
        for n in range(20):
            assert await m.send_message(None, slow, n)
        assert await m.terminate_agent(slow)
        assert m.metrics_counter(Counter.HANDLED) - before == 20
        assert not await m.terminate_agent(slow)
        with pytest.raises(errors.AgentGone, match=f"{slow:#x}"):
            await m.send_message(None, slow, "late")
        again = await m.spawn_agents("echo", 150)
        assert slow not in again

    run(body)


def test_no_more_agents_than_the_config_allows() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        ids = await m.spawn_agents("echo", 200)
        with pytest.raises(
            errors.NoAgentSlot, match="200 are alive and max_concurrent_agents is 200"
        ):
            await m.spawn_agent("echo")
        assert await m.terminate_agent(ids[0])
        await m.spawn_agent("echo")
        assert await m.ping_agents() == 200

    run(body)


def test_an_unknown_type_and_a_failing_start_are_said() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        with pytest.raises(errors.AgentTypeUnknown, match="'nobody' is not registered"):
            await m.spawn_agent("nobody")
        m.register("bad", BadStart)
        bad = await m.spawn_agent("bad")
        with pytest.raises((errors.AgentGone, TimeoutError)):
            await m.request(None, bad, "are you there", timeout_s=2.0)

    run(body)


def test_a_full_mailbox_refuses_at_once_and_nothing_accepted_is_lost() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        slow = await m.spawn_agent("slow")
        accepted = refused = 0
        worker = m._endpoint.agents.look(slow).worker
        while refused < 10:
            for _ in range(60):
                taken = m.bus.send_nowait(None, slow, accepted)
                accepted, refused = accepted + taken, refused + (not taken)
            # What waits in the inbox is not in the mailbox yet.
            await until(lambda: m._endpoint.queues.length(worker) == 0)
        assert len(await m.request(None, slow, "seen", timeout_s=30.0)) == accepted
        async with asyncio.timeout(10):  # the last answer leaves before it is counted
            while m.metrics_counter(Counter.DELIVERED) < accepted + 1:
                await asyncio.sleep(0.001)
        counted = {c: m.metrics_counter(c) for c in Counter}
        assert counted[Counter.REFUSED] == refused
        assert counted[Counter.SENT] == accepted + refused + 1
        assert counted[Counter.DELIVERED] == accepted + 1

    run(body, mailbox_capacity=50)


def test_publications_reach_every_process() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        found: list[Any] = []
        m.subscribe("review.*.done", lambda p: found.append((p.subject, p.payload)))
        iterator = m.subscribe("review.>")
        assert await m.publish("review.python.done", {"ok": True})
        assert (await iterator.next(5.0)).payload == {"ok": True}
        assert found == [("review.python.done", {"ok": True})]

    run(body)


def test_a_class_of_a_script_works_in_workers(tmp_path: Any) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio, os
            import ultrafast as uf

            FACTOR = 3

            class Times(uf.Agent):
                async def on_message(self, message):
                    return [message.body * FACTOR, os.getpid()]

            async def main():
                async with uf.UltraFastAgentManager(uf.Config(workers=1)) as manager:
                    manager.register("times", Times)
                    agent = await manager.spawn_agent("times")
                    product, pid = await manager.request(None, agent, 14)
                    print(product, pid != os.getpid())

            asyncio.run(main())
            """
        )
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("42 True\n", "", 0)


def test_a_process_of_its_own_attaches_sends_and_reads() -> None:
    code = """
        import asyncio, sys
        import ultrafast as uf

        async def main():
            async with uf.attach(sys.argv[1]) as client:
                answer = await client.request(None, int(sys.argv[2]), "from outside")
                print(answer["body"], client.memory_store.get("notes", "haiku"))

        asyncio.run(main())
    """

    async def body(m: uf.UltraFastAgentManager) -> None:
        echo = await m.spawn_agent("echo")
        m.memory_store.set("notes", "haiku", {"text": "old pond"})
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", textwrap.dedent(code), m.name, str(echo),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        assert out == b"from outside {'text': 'old pond'}\n"
        assert process.returncode == 0

    run(body)


def test_a_killed_worker_is_replaced_and_its_agents_answer_again() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        ids = await m.spawn_agents("echo", 50)
        assert await m.ping_agents(ids) == 50
        events: list[str] = []
        m.events.on("worker.>", lambda event: events.append(event.subject))
        os.kill(m.pids()[1], signal.SIGKILL)
        async with asyncio.timeout(30):
            while "worker.started" not in events:
                await asyncio.sleep(0.01)
        assert await m.ping_agents(ids) == 50
        assert "worker.died" in events
        assert m.statistics().workers[0].restarts + m.statistics().workers[1].restarts == 1

    run(body)


def test_every_agent_is_warmed_whether_claimed_built_or_restored() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        m.register("warmed", Warmed, pre_warm=3)
        ids = await m.spawn_agents("warmed", 10)
        assert all([await m.request(None, agent, None) for agent in ids])
        for pid in m.pids()[1:]:
            os.kill(pid, signal.SIGKILL)
        assert all([await m.request(None, agent, None, timeout_s=30.0) for agent in ids])
        assert await m.request(None, await m.spawn_agent("warmed"), None, timeout_s=30.0)

    run(body)


@pytest.mark.parametrize("how", ["end", "exception", "interrupt", "kill group"])
def test_nothing_stays_in_dev_shm(how: str, tmp_path: Any) -> None:
    code = """
        import asyncio, signal, sys
        import ultrafast as uf

        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored

        async def main():
            async with uf.UltraFastAgentManager(uf.Config(workers=2)) as manager:
                await manager.spawn_agent("coder")
                print("up", flush=True)
                if sys.argv[1] == "exception":
                    raise ValueError("in the body")
                if sys.argv[1] != "end":
                    await asyncio.sleep(60)

        asyncio.run(main())
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    if how == "interrupt":
        os.killpg(process.pid, signal.SIGINT)
    elif how == "kill group":
        os.killpg(process.pid, signal.SIGKILL)
    _, error = process.communicate(timeout=60)
    expected = {
        "end": b"",
        "exception": b"ValueError: in the body",
        "interrupt": b"KeyboardInterrupt",
    }
    assert expected.get(how, b"") in error
    if how == "kill group":
        time.sleep(0.1)
        run(_nothing)  # a new start removes what the dead system left


async def _nothing(manager: uf.UltraFastAgentManager) -> None:
    assert manager.name


def test_an_error_of_the_config_is_told_before_anything_is_made() -> None:
    with pytest.raises(errors.ConfigError, match="workers is -1"):
        uf.Config(workers=-1)


def test_a_second_system_of_the_same_name_is_refused() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        with pytest.raises(errors.RegionExists, match="choose another"):
            async with uf.UltraFastAgentManager(uf.Config(name=m.name, workers=0)):
                pass
        assert await m.ping_agents([await m.spawn_agent("echo")]) == 1

    run(body)


def test_what_cannot_be_delivered_is_kept_with_its_reason() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        slow = await m.spawn_agent("slow")
        large = "x" * (1 << 20 - 1)
        for content in ("first", large, "third"):
            assert await m.send_message(None, slow, content)
        assert await m.terminate_agent(slow, drain=False)
        async with asyncio.timeout(10):
            while (
                m.metrics_counter(Counter.DELIVERED) + m.metrics_counter(Counter.DEAD_LETTERED) < 3
            ):
                await asyncio.sleep(0.01)
        letters = m.dead_letters()
        assert len(letters) == m.metrics_counter(Counter.DEAD_LETTERED) >= 1
        assert all(letter.receiver == slow and letter.kind == "data" for letter in letters)
        assert {letter.reason for letter in letters} <= {"agent_gone", "agent_stopped", "unknown"}
        assert "third" in [letter.body for letter in letters]

    run(body)


def test_a_task_is_executed_by_its_agents_worker_and_cached_for_all() -> None:
    from ultrafast.testing import LoopbackServer

    async def body(m: uf.UltraFastAgentManager) -> None:
        coder, reviewer = await m.spawn_agent("coder"), await m.spawn_agent("reviewer")
        task = uf.Task(
            id="t1", objective="Write a haiku", constraints=uf.Constraints(max_tokens=99)
        )
        result = await m.execute_task(coder, task)
        assert (result.ok, result.via, result.cached) == (True, "loopback", False)
        assert result.agent == f"{coder:#x}"
        others = [await m.spawn_agent("coder") for _ in range(3)]
        again = await m.execute_batch([(agent, task) for agent in others])
        assert all(r.cached and r.text == result.text for r in again)
        assert not (await m.execute_task(reviewer, task)).cached  # another system prompt
        bad = uf.Task(id="t2", objective="x", constraints=uf.Constraints(timeout_s=0.000001))
        assert [r.status for r in await m.execute_batch([(coder, bad)])] == ["failed"]
        with pytest.raises(errors.TaskTimeout):
            await m.execute_task(coder, bad)

    with LoopbackServer() as server:

        async def main() -> None:
            config = uf.Config(workers=2, api_base_url=server.base_url, **SMALL)
            async with uf.UltraFastAgentManager(config, api_key="loopback") as m:
                await body(m)

        asyncio.run(main())


def test_a_class_that_workers_cannot_import_is_sent_by_value_before_and_after_the_start(
    tmp_path: Any,
) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "concealed.py").write_text(
        "import ultrafast as uf\n"
        "class Concealed(uf.Agent):\n"
        "    def on_message(self, message):\n"
        "        return message.body + 1\n"
    )
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio, importlib.util, sys
            import ultrafast as uf

            spec = importlib.util.spec_from_file_location("concealed", sys.argv[1])
            module = importlib.util.module_from_spec(spec)
            sys.modules["concealed"] = module
            spec.loader.exec_module(module)

            async def main():
                manager = uf.UltraFastAgentManager(uf.Config(workers=2))
                manager.register("before", module.Concealed, pre_warm=2)
                async with manager:
                    manager.register("after", module.Concealed, pre_warm=2)
                    manager.statistics()
                    ids = [await manager.spawn_agent(t) for t in ("before", "after") * 2]
                    print([await manager.request(None, agent, n) for n, agent in enumerate(ids)])

            asyncio.run(main())
            """
        )
    )
    done = subprocess.run(
        [sys.executable, script, tmp_path / "hidden" / "concealed.py"],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("[1, 2, 3, 4]\n", "", 0)
