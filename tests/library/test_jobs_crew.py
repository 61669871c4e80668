"""How many agents do which tasks; and what a crew's agents are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrafast.executor.profiles import BUILTIN_PROFILES
from ultrafast.jobs.crew import AGENT_TYPES, CREW_CLASSES, crew_sizes

counts = st.dictionaries(st.sampled_from(sorted(CREW_CLASSES)), st.integers(0, 50), max_size=5)


def test_every_built_in_profile_has_a_crew_agent_with_it() -> None:
    assert set(CREW_CLASSES) == set(AGENT_TYPES) == set(BUILTIN_PROFILES)
    for name, cls in CREW_CLASSES.items():
        assert cls.profile is BUILTIN_PROFILES[name]
    assert not set(AGENT_TYPES.values()) & set(BUILTIN_PROFILES)


@given(counts, st.integers(5, 200))
def test_sizes_fit_the_tasks_and_the_agents(tasks: dict[str, int], agents: int) -> None:
    sizes = crew_sizes(tasks, agents)
    wanted = {name for name, count in tasks.items() if count}
    assert set(sizes) == wanted
    assert all(1 <= sizes[name] <= tasks[name] for name in sizes)
    assert sum(sizes.values()) == min(agents, sum(tasks.values()))


@given(counts)
def test_without_a_number_there_are_enough_to_be_busy(tasks: dict[str, int]) -> None:
    sizes = crew_sizes(tasks, None)
    assert sizes == {name: min(count, 20) for name, count in tasks.items() if count}


def test_fewer_agents_than_types_are_refused() -> None:
    with pytest.raises(ValueError, match="coder, tester"):
        crew_sizes({"coder": 3, "tester": 1}, 1)
