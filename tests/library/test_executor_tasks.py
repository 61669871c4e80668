"""Tasks, constraints, results, profiles and prices: what is accepted, refused and sent."""

import msgspec
import pytest

from ultrafast.errors import TaskInvalid
from ultrafast.executor.prices import PRICES, Price, cost_usd
from ultrafast.executor.profiles import BUILTIN_PROFILES, Profile, build_request
from ultrafast.executor.tasks import Constraints, Result, Task, Usage, decode_task


def test_a_full_line_becomes_a_task():
    task = decode_task(
        b'{"id": "t1", "type": "tester", "objective": "Test it", "after": ["t0"],'
        b' "constraints": {"max_tokens": 7, "timeout_s": 1.5, "effort": "low"}}'
    )
    assert (task.id, task.type, task.after) == ("t1", "tester", ("t0",))
    assert task.constraints == Constraints(max_tokens=7, timeout_s=1.5, effort="low")
    assert decode_task(msgspec.to_builtins(task)) == task


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "truncated"),
        ("[]", "object"),
        (b'{"id": "\xff"}', "UTF-8"),
        ('{"id": "a"}', "`objective`"),
        ('{"id": "a", "objective": "x", "colour": 1}', "`colour`"),
        ('{"id": 1, "objective": "x"}', "$.id"),
        ('{"id": " ", "objective": "x"}', "printable"),
        ('{"id": "a\\nb", "objective": "x"}', "printable"),
        ('{"id": "a", "objective": " "}', "empty objective"),
        ('{"id": "a", "objective": "x", "type": ""}', "empty type"),
        ('{"id": "a", "objective": "x", "after": ["a"]}', "after itself"),
        ('{"id": "a", "objective": "x", "after": ["b", 3]}', "$.after[1]"),
        ('{"id": "a", "objective": "x", "constraints": {"max_tokens": 0}}', "$.constraints"),
        ('{"id": "a", "objective": "x", "constraints": {"timeout_s": -1}}', "timeout_s is -1"),
        ('{"id": "a", "objective": "x", "constraints": {"max_retries": 99}}', "0 to 10"),
        ('{"id": "a", "objective": "x", "constraints": {"max_turns": 0}}', "max_turns"),
        (
            '{"id": "a", "objective": "x", "constraints": {"effort": "huge"}}',
            "$.constraints.effort",
        ),
        ('{"id": "a", "objective": "x", "constraints": {"model": ""}}', "model is empty"),
    ],
)
def test_a_malformed_line_is_refused_and_named(line, said):
    with pytest.raises(TaskInvalid) as caught:
        decode_task(line, where="tasks.jsonl line 3")
    assert str(caught.value).startswith("tasks.jsonl line 3: ")
    assert said in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_sampling_parameters_are_refused_with_their_successor():
    with pytest.raises(TaskInvalid, match=r"constraints\.effort"):
        decode_task('{"id": "a", "objective": "x", "constraints": {"temperature": 0.2}}')


def test_constraints_made_in_python_are_checked_too():
    with pytest.raises(TaskInvalid, match="timeout_s is nan"):
        Constraints(timeout_s=float("nan"))


def test_a_result_survives_json():
    result = Result(task_id="t", status="ok", usage=Usage(input_tokens=3), cost_usd=0.25)
    assert msgspec.json.decode(msgspec.json.encode(result), type=Result) == result
    assert result.ok


def test_usage_adds_every_field():
    one = Usage(input_tokens=1, output_tokens=2, cache_read_tokens=3, cache_write_tokens=4)
    assert one + one == Usage(
        input_tokens=2, output_tokens=4, cache_read_tokens=6, cache_write_tokens=8
    )


def test_the_five_profiles_are_there_and_differ():
    assert list(BUILTIN_PROFILES) == ["coder", "researcher", "analyst", "tester", "reviewer"]
    prompts = {profile.system_prompt for profile in BUILTIN_PROFILES.values()}
    assert len(prompts) == 5
    for prompt in prompts:
        assert 100 <= len(prompt.split()) <= 200
        assert "\\" not in prompt


def test_a_tool_that_cannot_be_awaited_is_refused():
    def weather(city: str) -> str:
        return city

    with pytest.raises(TaskInvalid, match=r"'weather'.*async def"):
        Profile(type="p", system_prompt="", tools=(weather,))


def test_a_request_carries_profile_limits_and_earlier_results():
    task = Task(
        id="t2",
        objective="Review it",
        constraints=Constraints(max_tokens=5, timeout_s=9, effort="high", max_retries=1),
        context={"t1": "def f(): ..."},
    )
    request = build_request(task, BUILTIN_PROFILES["reviewer"], "default-model")
    assert request.model == "default-model"
    assert request.system == BUILTIN_PROFILES["reviewer"].system_prompt
    limits = (request.max_tokens, request.timeout_s, request.effort, request.max_retries)
    assert limits == (5, 9, "high", 1)
    (message,) = request.messages
    assert '<result task="t1">\ndef f(): ...\n</result>' in message.content
    assert message.content.endswith("Review it")


@pytest.mark.parametrize(
    ("own", "of_profile", "expected"), [("a", "b", "a"), (None, "b", "b"), (None, None, "default")]
)
def test_the_model_named_nearest_to_the_task_is_taken(own, of_profile, expected):
    task = Task(id="t", objective="x", constraints=Constraints(model=own))
    profile = Profile(type="p", system_prompt="", model=of_profile)
    assert build_request(task, profile, "default").model == expected


def test_cost_counts_each_kind_of_token():
    price = Price(input=1.0, output=10.0, cache_read=0.1, cache_write=2.0)
    spent = Usage(
        input_tokens=1_000_000,
        output_tokens=100_000,
        cache_read_tokens=1_000_000,
        cache_write_tokens=500_000,
    )
    assert cost_usd("m", spent, {"m": price}) == pytest.approx(1.0 + 1.0 + 0.1 + 1.0)
    assert cost_usd("other", spent, {"m": price}) is None


def test_a_long_prompt_is_charged_by_its_own_price_entirely():
    short = cost_usd("claude-haiku-5-5", Usage(input_tokens=100_000, output_tokens=10))
    long = cost_usd("claude-haiku-5-5", Usage(input_tokens=100_001, output_tokens=10))
    assert short == pytest.approx(0.010005)
    assert long == pytest.approx(0.0500255)
    assert all(price.input > 0 for price in PRICES.values())
