"""The order of a job, what is passed on, and what failures, losses and an early end mean."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ultrafast.errors import AgentGone, JobChanged, ModelError, StoreFull
from ultrafast.executor.tasks import Result, Task
from ultrafast.jobs.given import Given, ResultMessage
from ultrafast.jobs.journal import Journal
from ultrafast.jobs.plan import Plan, parse_plan
from ultrafast.jobs.runner import Crew, JobRunner, Outcome, check_resume

TYPES = ("coder", "tester")
AGENT_TYPES = {each: f"task-{each}" for each in TYPES}
LONG = 60.0


class FakeStore:
    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Any] = {}
        self.full = False

    def set(self, namespace: str, key: str, value: Any) -> None:
        if self.full:
            raise StoreFull("no room")
        self.kept[namespace, key] = value


class FakeHost:
    """What a runner asks of the manager, with agents that do one task at a time, as real ones."""

    def __init__(self, agents: dict[str, list[int]]) -> None:
        self.memory_store = FakeStore()
        self.given = {each: Given() for ids in agents.values() for each in ids}
        self.sent: list[tuple[int | None, int, str, str]] = []
        self.began: list[str] = []
        self.contexts: dict[str, dict[str, str]] = {}
        self.agents_of: dict[str, int] = {}
        self.busy: Counter[int] = Counter()
        self.most_at_once = 0
        self.refusing: set[int] = set()
        self.gone: set[int] = set()
        self.work: dict[str, Callable[[], Awaitable[str]]] = {}

    async def spawn_agent(self, agent_type: str) -> int:
        fresh = max(self.given) + 1
        self.given[fresh] = Given()
        return fresh

    async def send_message(
        self, sender: int | None, receiver: int, body: Any, *, timeout_s: float = 0.0
    ) -> bool:
        if receiver in self.gone:
            raise AgentGone(f"agent {receiver} is gone")
        if receiver in self.refusing:
            return False
        message = msgspec.convert(body, ResultMessage)
        self.given[receiver].put(message)
        self.sent.append((sender, receiver, message.task_id, message.wanted_by))
        return True

    async def execute_task(self, agent_id: int, task: Task) -> Result:
        if agent_id in self.gone:
            raise AgentGone(f"agent {agent_id} is gone")
        self.began.append(task.id)
        self.agents_of[task.id] = agent_id
        self.busy[agent_id] += 1
        assert self.busy[agent_id] == 1, f"agent {agent_id} has two tasks"
        self.most_at_once = max(self.most_at_once, self.busy.total())
        self.contexts[task.id] = self.given[agent_id].take(task.id, task.after)
        try:
            await asyncio.sleep(0)
            text = await self.work[task.id]() if task.id in self.work else f"result of {task.id}"
        finally:
            self.busy[agent_id] -= 1
        return Result(task_id=task.id, status="ok", text=text, agent=str(agent_id))


def plan_of(text: str) -> Plan:
    """Lines such as `b coder a c`: an id, a type, and the tasks before it."""
    tasks = []
    for words in map(str.split, text.strip().splitlines()):
        tasks.append({"id": words[0], "type": words[1], "objective": "x", "after": words[2:]})
    return parse_plan(b"\n".join(map(msgspec.json.encode, tasks)), TYPES)


class Job:
    """A plan, a fake host and a journal, to be run."""

    def __init__(self, folder: Path, text: str, agents: dict[str, list[int]] | None = None) -> None:
        self.plan = plan_of(text)
        self.agents = agents or {"coder": [1, 2], "tester": [11, 12]}
        self.host = FakeHost(self.agents)
        self.stop = asyncio.Event()
        self.folder = folder
        self.recorded: list[str] = []

    def run(self, *, concurrency: int = 8, grace_s: float = LONG, **options: Any) -> Outcome:
        async def main() -> Outcome:
            with Journal(self.folder) as journal:
                resumed = check_resume(self.plan, journal, "loopback")
                runner = JobRunner(
                    self.host,
                    self.plan,
                    journal,
                    Crew(self.agents, AGENT_TYPES),
                    source="loopback",
                    resumed=resumed,
                    concurrency=concurrency,
                    stop=self.stop,
                    grace_s=grace_s,
                    on_record=lambda record: self.recorded.append(record.task_id),
                    **options,
                )
                return await asyncio.wait_for(runner.run(), LONG)

        return asyncio.run(main())

    def on_disk(self) -> dict[str, str]:
        with Journal(self.folder) as journal:
            return {each: record.status for each, record in journal.records.items()}


DIAMOND = """
a coder
b tester a
c coder a
d tester b c
"""


def test_each_task_runs_once_after_those_before_it_with_their_results(tmp_path: Path) -> None:
    job = Job(tmp_path, DIAMOND)
    outcome = job.run()
    assert list(outcome.ok) == job.recorded == job.host.began
    assert sorted(job.host.began) == ["a", "b", "c", "d"]
    assert job.host.began[0] == "a" and job.host.began[-1] == "d"
    assert job.host.contexts == {
        "a": {},
        "b": {"a": "result of a"},
        "c": {"a": "result of a"},
        "d": {"b": "result of b", "c": "result of c"},
    }
    assert job.on_disk() == dict.fromkeys("abcd", "ok")
    assert not outcome.not_done and not outcome.interrupted


def test_results_go_from_the_agent_that_made_them_to_the_one_that_wants_them(
    tmp_path: Path,
) -> None:
    job = Job(tmp_path, DIAMOND)
    outcome = job.run()
    expected = {
        (job.host.agents_of[before], job.host.agents_of[later], before, later)
        for before, later in [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]
    }
    assert set(job.host.sent) == expected
    assert len(job.host.sent) == outcome.messages_sent == 4
    assert job.host.memory_store.kept == {
        ("results", each): {"text": f"result of {each}"} for each in "abcd"
    }


def test_an_agent_has_one_task_at_a_time_and_the_limit_holds(tmp_path: Path) -> None:
    tasks = "\n".join(f"t{i} coder" for i in range(40))
    job = Job(tmp_path, tasks, {"coder": [1, 2, 3, 4, 5], "tester": []})
    outcome = job.run(concurrency=3)
    assert len(outcome.ok) == 40
    assert job.host.most_at_once == 3
    assert Counter(job.host.agents_of.values()) == dict.fromkeys([1, 2, 3, 4, 5], 8)


def test_a_failure_skips_those_after_it_and_is_tried_again_by_the_next_run(tmp_path: Path) -> None:
    async def fails() -> str:
        raise ModelError("the service is down", status=500, attempts=3)

    job = Job(tmp_path, DIAMOND + "e coder\nf coder d")
    job.host.work["b"] = fails
    outcome = job.run()
    assert set(outcome.ok) == {"a", "c", "e"}
    assert outcome.failed["b"].error_type == "ModelError"
    assert outcome.failed["b"].attempts == 3
    assert set(outcome.skipped) == {"d", "f"}
    assert "'b'" in outcome.skipped["d"]
    assert job.on_disk() == {"a": "ok", "b": "failed", "c": "ok", "e": "ok"}

    again = Job(tmp_path, DIAMOND + "e coder\nf coder d")
    outcome = again.run()
    assert set(outcome.resumed) == {"a", "c", "e"}
    assert again.host.began == ["b", "d", "f"]
    assert again.host.contexts["d"] == {"b": "result of b", "c": "result of c"}
    # The maker of an earlier run's result is no more; the one of this run's is.
    makers = {before: sender for sender, _, before, later in again.host.sent if later == "d"}
    assert makers == {"b": again.host.agents_of["b"], "c": None}


def test_a_deadline_of_the_runtime_is_a_failure_like_others(tmp_path: Path) -> None:
    async def late() -> str:
        raise TimeoutError("no answer within 5 s")

    job = Job(tmp_path, "a coder")
    job.host.work["a"] = late
    assert job.run().failed["a"].error_type == "TimeoutError"


def test_fail_fast_begins_nothing_more(tmp_path: Path) -> None:
    async def fails() -> str:
        raise ModelError("down")

    job = Job(tmp_path, "a coder\nb coder\nc coder\nd coder a", {"coder": [1], "tester": []})
    job.host.work["a"] = fails
    outcome = job.run(fail_fast=True)
    assert outcome.failed_fast
    assert job.host.began == ["a"]
    assert set(outcome.not_done) == {"b", "c"}
    assert set(outcome.skipped) == {"d"}


def test_told_to_stop_it_lets_tasks_finish_and_begins_no_other(tmp_path: Path) -> None:
    job = Job(tmp_path, "a coder\nb coder a\nc tester")

    async def stops() -> str:
        job.stop.set()
        await asyncio.sleep(0)
        return "just in time"

    job.host.work["a"] = stops
    outcome = job.run()
    assert outcome.interrupted
    assert set(outcome.ok) == {"a", "c"}
    assert outcome.not_done == ("b",)
    assert job.on_disk() == {"a": "ok", "c": "ok"}


def test_told_to_stop_it_cancels_what_does_not_finish_in_time(tmp_path: Path) -> None:
    job = Job(tmp_path, "a coder\nb coder")
    cancelled = []

    async def hangs() -> str:
        job.stop.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("a")
            raise
        return ""

    job.host.work["a"] = hangs
    outcome = job.run(grace_s=0.05)
    assert cancelled == ["a"]
    assert outcome.not_done == ("a",)
    assert job.on_disk() == {"b": "ok"}
    again = Job(tmp_path, "a coder\nb coder")
    assert set(again.run().ok) == {"a"}


def test_told_to_stop_before_it_began_it_does_nothing(tmp_path: Path) -> None:
    job = Job(tmp_path, "a coder", {"coder": [], "tester": []})
    job.stop.set()
    outcome = job.run()
    assert outcome.interrupted and outcome.not_done == ("a",)


def test_an_agent_that_is_gone_is_replaced_and_given_everything_again(tmp_path: Path) -> None:
    job = Job(tmp_path, "a coder\nb tester a", {"coder": [1], "tester": [11]})

    async def loses_the_other() -> str:
        job.host.gone.add(11)
        return "text"

    job.host.work["a"] = loses_the_other
    outcome = job.run()
    assert set(outcome.ok) == {"a", "b"}
    assert job.host.agents_of["b"] == 12
    assert job.host.contexts["b"] == {"a": "text"}


def test_a_task_fails_when_its_agents_keep_vanishing(tmp_path: Path) -> None:
    job = Job(tmp_path, "a coder", {"coder": [1], "tester": []})
    job.host.gone.update(range(100))
    outcome = job.run()
    assert outcome.failed["a"].error_type == "AgentGone"


def test_an_agent_that_takes_no_messages_fails_its_task_with_the_reason(tmp_path: Path) -> None:
    job = Job(tmp_path, "a coder\nb tester a", {"coder": [1], "tester": [11]})
    job.host.refusing.add(11)
    outcome = job.run()
    assert set(outcome.ok) == {"a"}
    assert "'a'" in (outcome.failed["b"].error or "")
    assert "11" in (outcome.failed["b"].error or "")


def test_a_full_store_is_told_and_stops_nothing(tmp_path: Path) -> None:
    job = Job(tmp_path, DIAMOND)
    job.host.memory_store.full = True
    outcome = job.run()
    assert len(outcome.ok) == 4
    assert len(outcome.store_faults) == 4
    assert "no room" in outcome.store_faults[0]


def test_results_that_cannot_be_written_end_the_run(tmp_path: Path) -> None:
    job = Job(tmp_path, "a coder\nb coder")

    def broken(self: Journal, record: Any) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(Journal, "append", broken)
        job.run()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    Job(tmp_path, DIAMOND).run()
    with Journal(tmp_path) as found:
        yield found


def test_changed_and_vanished_tasks_are_named(journal: Journal) -> None:
    with pytest.raises(JobChanged) as caught:
        check_resume(plan_of("a coder\nb coder a\nc coder a\n"), journal, "loopback")
    assert "changed: 'b'" in str(caught.value)
    assert "no longer there: 'd'" in str(caught.value)


def test_new_tasks_are_welcome(journal: Journal) -> None:
    assert set(check_resume(plan_of(DIAMOND + "e coder d"), journal, "loopback")) == set("abcd")


def test_a_line_that_became_faulty_is_no_change(journal: Journal) -> None:
    lines = [{"id": i, "objective": "x", "surprise": 1} for i in "abcd"]
    plan = parse_plan(b"\n".join(map(msgspec.json.encode, lines)), TYPES)
    assert check_resume(plan, journal, "loopback") == {}


def test_answers_of_the_loopback_server_are_not_mixed_with_those_of_the_api(
    journal: Journal,
) -> None:
    with pytest.raises(JobChanged, match="loopback"):
        check_resume(plan_of(DIAMOND), journal, "api")


def test_what_is_given_is_handed_out_once() -> None:
    given = Given()
    given.put(ResultMessage(task_id="a", wanted_by="c", text="1"))
    given.put(ResultMessage(task_id="b", wanted_by="c", text="2"))
    given.put(ResultMessage(task_id="a", wanted_by="d", text="1"))
    given.put(ResultMessage(task_id="a", wanted_by="c", text="3"))
    assert len(given) == 3
    assert given.take("c", ["b", "a", "x"]) == {"b": "2", "a": "3"}
    assert given.take("c", ["a"]) == {}
    assert len(given) == 1
