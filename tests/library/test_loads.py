"""Which host gets the next agent: the one that has the fewest."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrafast.agents.placing.loads import Loads


class Counted:
    """Agent records whose numbers are given."""

    def __init__(self, numbers: dict[int, int]) -> None:
        self.numbers = numbers
        self.counts = 0

    def load(self, worker: int) -> int:
        self.counts += 1
        return self.numbers[worker]


def loads_of(numbers: dict[int, int], first: int = 0) -> tuple[Loads, Any]:
    agents: Any = Counted(numbers)
    return Loads(agents, first), agents


@pytest.mark.parametrize("first", range(4))
def test_the_host_with_the_fewest_gets_the_next_until_all_have_as_many(first: int) -> None:
    loads, _ = loads_of({3: 2, 5: 0, 9: 1}, first)
    given_out = [loads.least([3, 5, 9], 0) for _ in range(3)]
    assert sorted(given_out) == [5, 5, 9]
    assert sorted(loads.least([3, 5, 9], 0) for _ in range(3)) == [3, 5, 9]


def test_agents_that_ended_are_seen_at_the_next_count() -> None:
    loads, agents = loads_of({1: 4, 2: 4})
    loads.least([1, 2], 0)
    agents.numbers = {1: 9, 2: 0}
    far = 1 << 62
    assert agents.counts == 2
    assert [loads.least([1, 2], far) for _ in range(3)] == [2, 2, 2]
    assert agents.counts > 2


def test_processes_begin_at_different_hosts() -> None:
    hosts = [1, 2, 3]
    assert {loads_of(dict.fromkeys(hosts, 0), n)[0].least(hosts, 0) for n in range(3)} == {1, 2, 3}


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers(0, 200))
def test_shares_are_those_of_one_after_the_other(before: list[int], count: int) -> None:
    hosts = list(range(len(before)))
    loads, _ = loads_of(dict(enumerate(before)))
    shares = loads.shares(hosts, count, 0)
    assert sum(shares.values()) == count
    after = [number + shares.get(host, 0) for host, number in enumerate(before)]
    one_by_one = list(before)
    for _ in range(count):
        one_by_one[one_by_one.index(min(one_by_one))] += 1
    assert sorted(after) == sorted(one_by_one)
