"""When a loop looks at an empty inbox again, and which processors a worker gets."""

import os

import pytest

from ultrafast import Config, errors
from ultrafast.agents.processes.affinity import cpus_of
from ultrafast.bus.lookout import Lookout

BUDGET = 100


def test_it_looks_while_messages_come_soon_and_learns_that_they_do_not() -> None:
    lookout = Lookout(BUDGET)
    now = 1000
    for _ in range(20):
        assert lookout.ran_empty(now) and lookout.until_ns == now + BUDGET
        now += BUDGET // 2
        lookout.filled(now)
    assert lookout.expected_ns <= BUDGET / 2
    looked = 0
    for _ in range(20):
        looked += lookout.ran_empty(now)
        now += 1_000_000_000
        lookout.filled(now)
    assert 1 <= looked <= 2, "one long sleep is enough to know"
    again = 0
    while not lookout.ran_empty(now):
        again += 1
        lookout.filled(now + 1)
        assert again < 20
    assert again > 1


def test_without_a_budget_it_never_looks() -> None:
    lookout = Lookout(0)
    assert not lookout.ran_empty(1)
    lookout.filled(2)
    assert not lookout.ran_empty(3)


def test_workers_get_processors_that_are_ours() -> None:
    ours = sorted(os.sched_getaffinity(0))
    assert cpus_of("none", 0) is None
    spread = [cpus_of("spread", index) for index in range(len(ours) + 1)]
    assert spread == [{cpu} for cpu in [*ours, ours[0]]]
    assert cpus_of([ours, ours[:1]], 1) == set(ours[:1])
    assert cpus_of([ours, ours[:1]], 2) == set(ours)
    with pytest.raises(errors.ConfigError, match=r"worker 1 the processors \[99999\]"):
        cpus_of([ours, [99999]], 1)


@pytest.mark.parametrize("wrong", ["all", [], [[]], [[-1]], [["0"]], [[True]], [0], 3, None])
def test_an_affinity_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(errors.ConfigError, match="worker_affinity is"):
        Config(worker_affinity=wrong)  # type: ignore[arg-type]  # refused, which is tested
    if wrong is not None:
        with pytest.raises(errors.ConfigError, match="worker_affinity"):
            Config.from_dict({"worker_affinity": wrong})
