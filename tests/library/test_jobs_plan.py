"""A tasks file: which lines are tasks, what is wrong with the others, and who waits for whom."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from house.tree import ROOT
from ultrafast.jobs.plan import Plan, parse_plan, read_plan, task_digest

TYPES = ("coder", "researcher", "analyst", "tester", "reviewer")


def line(task_id: str, *after: str, **fields: Any) -> str:
    return json.dumps({"id": task_id, "objective": "do it", "after": list(after), **fields})


def plan_of(*lines: str) -> Plan:
    return parse_plan("\n".join(lines).encode(), TYPES)


def faults(plan: Plan) -> dict[int, str]:
    return {fault.line: fault.reason for fault in plan.faults}


def test_sound_lines_keep_their_order_numbers_and_successors() -> None:
    plan = plan_of(line("a"), "", line("b", "a"), "   ", line("c", "a", "b", "a"))
    assert [(each, planned.line) for each, planned in plan.tasks.items()] == [
        ("a", 1),
        ("b", 3),
        ("c", 5),
    ]
    assert plan.successors == {"a": ("b", "c"), "b": ("c",), "c": ()}
    assert plan.after("c") == ("a", "b")
    assert not plan.faults
    assert not plan.unreachable
    assert plan.lines == 3


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("{not json", "malformed"),
        ('"a text"', "Expected `object`"),
        ('{"id": "x"}', "objective"),
        (line("x", surprise=1), "surprise"),
        (line("x", constraints={"max_tokens": "many"}), "$.constraints.max_tokens"),
        (line("x", constraints={"temperature": 1}), "effort"),
        (line("x", constraints={"timeout_s": 0}), "timeout_s"),
        (line(" "), "id"),
        (line("x", "x"), "itself"),
        (line("x", type="plumber"), "'plumber'"),
        (line("x", "nobody"), "'nobody'"),
        (line("good"), "line 1"),
        ("\x00", "malformed"),
    ],
)
def test_a_faulty_line_is_reported_and_stops_no_other(bad: str, said: str) -> None:
    plan = plan_of(line("good"), bad, line("after", "good"))
    assert list(plan.tasks) == ["good", "after"]
    assert list(faults(plan)) == [2]
    assert said in faults(plan)[2]
    assert not plan.unreachable


def test_a_line_that_is_not_utf8_is_reported() -> None:
    plan = parse_plan(b'{"id": "\xff", "objective": "x"}\n' + line("b").encode(), TYPES)
    assert list(plan.tasks) == ["b"]
    assert list(faults(plan)) == [1]


def test_tasks_after_a_faulty_line_are_held_up_not_faulty() -> None:
    plan = plan_of(
        line("a", constraints={"max_tokens": 0}),
        line("b", "a"),
        line("c", "b"),
        line("d"),
    )
    assert list(faults(plan)) == [1]
    assert set(plan.unreachable) == {"b", "c"}
    assert "'a'" in plan.unreachable["b"] and "line 1" in plan.unreachable["b"]
    assert "'b'" in plan.unreachable["c"] and "skipped" in plan.unreachable["c"]


def test_the_first_of_two_lines_with_one_id_stands() -> None:
    plan = plan_of(line("a"), line("a", objective="another"), line("b", "a"))
    assert plan.tasks["a"].line == 1
    assert list(faults(plan)) == [2]
    assert not plan.unreachable


def test_a_sound_line_takes_the_id_of_an_earlier_faulty_one() -> None:
    plan = plan_of(line("a", surprise=1), line("a"), line("b", "a"))
    assert plan.tasks["a"].line == 2
    assert list(faults(plan)) == [1]
    assert not plan.unreachable


def test_each_member_of_a_circle_is_reported_and_who_waits_for_it_is_held_up() -> None:
    plan = plan_of(
        line("a", "c"),
        line("b", "a"),
        line("c", "b"),
        line("waits", "a"),
        line("before"),
        line("between", "before"),
        line("p", "q"),
        line("q", "p"),
    )
    assert set(faults(plan)) == {1, 2, 3, 7, 8}
    assert all(f"{each!r}" in faults(plan)[1] for each in "abc")
    assert "'p'" not in faults(plan)[1]
    assert set(plan.unreachable) == {"waits"}
    assert set(plan.tasks) == {"waits", "before", "between"}


def test_a_long_chain_needs_no_recursion() -> None:
    lines = [line("t0"), *(line(f"t{i}", f"t{i - 1}") for i in range(1, 5000))]
    plan = plan_of(*reversed(lines))
    assert len(plan.tasks) == 5000
    assert not plan.faults
    assert len(plan.blocked_by({"t0": "failed"})) == 4999


def test_a_failure_blocks_those_after_it_and_no_others() -> None:
    plan = plan_of(line("a"), line("b", "a"), line("c", "b", "x"), line("x"), line("y", "x"))
    blocked = plan.blocked_by({"a": "failed"})
    assert set(blocked) == {"b", "c"}
    assert blocked["b"] == "'a', which it comes after, failed"


def test_a_digest_is_of_what_is_asked() -> None:
    one = plan_of(line("a")).tasks["a"]
    assert one.digest == plan_of(line("a", metadata={"owner": "x"})).tasks["a"].digest
    for other in (
        line("a", objective="do that"),
        line("a", type="tester"),
        line("a", constraints={"max_tokens": 7}),
        line("a", context={"x": "y"}),
    ):
        assert plan_of(other).tasks["a"].digest != one.digest
    assert task_digest(one.task) == one.digest


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_no_bytes_make_it_fail(lines: list[bytes]) -> None:
    data = b"\n".join([line("good").encode(), *lines])
    plan = parse_plan(data, TYPES)
    said = sum(bool(each.strip()) for each in data.split(b"\n"))
    assert plan.lines == said
    assert "good" in plan.tasks


@given(
    st.lists(st.lists(st.integers(min_value=0, max_value=9), max_size=3), min_size=1, max_size=10)
)
def test_every_task_is_done_faulty_or_held_up_and_the_rest_has_an_order(
    graph: list[list[int]],
) -> None:
    lines = [line(f"t{i}", *(f"t{j}" for j in after)) for i, after in enumerate(graph)]
    plan = plan_of(*lines)
    assert plan.lines == len(graph)
    open_tasks = {each for each in plan.tasks if each not in plan.unreachable}
    done: set[str] = set()
    while ready := {each for each in open_tasks - done if set(plan.after(each)) <= done}:
        done |= ready
    assert done == open_tasks


@pytest.mark.parametrize(("name", "least"), [("first", 5), ("tasks", 200)])
def test_the_examples_are_sound_and_use_every_type(name: str, least: int) -> None:
    plan = read_plan(Path(ROOT / "docs" / "examples" / f"{name}.jsonl"), TYPES)
    assert not plan.faults
    assert len(plan.tasks) >= least
    assert {planned.task.type for planned in plan.tasks.values()} == set(TYPES)
    assert sum(map(len, plan.successors.values())) >= len(plan.tasks)
    objectives = [planned.task.objective for planned in plan.tasks.values()]
    assert len(set(objectives)) == len(objectives)
