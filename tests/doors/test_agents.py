"""Agent records against a dict: ids that go stale, states that move by the drawn ways."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from doors.small import SMALL
from ultrafast import errors
from ultrafast.core import AgentInfo, Agents, Region, now_ns
from ultrafast.core._agents import (
    ACTIVE,
    ARRIVING,
    BUILDING,
    DRAINING,
    FAILED,
    FREE,
    MOVES,
    MOVING,
    NO_LIMIT,
    SLOT_BITS,
    STARTING,
    STATES,
    STOPPED,
    TAKING,
    WARM,
    Places,
)
from ultrafast.core._status import BUSY, FULL, NO_AGENT_SLOT, OK, STALE


@pytest.fixture
def agents(region: Region) -> Agents:
    return Agents(region)


def active(agents: Agents, worker: int = 2, limit: int = 5) -> int:
    id = agents.new(agents.type("coder"), worker, 1, STARTING, limit, 0, 1)
    assert agents.move(id, STARTING, ACTIVE) == OK
    return id


class AgentMachine(RuleBasedStateMachine):
    """The model is a dict of id -> (type, worker, state), and a list of ids that are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.model: dict[int, tuple[int, int, int]] = {}
        self.gone: list[int] = []
        self.left: dict[int, int] = {}

    @initialize()
    def open(self) -> None:
        self.region = Region.create(Path(self.folder.name, "ultrafast-a"), SMALL)
        self.agents = Agents(self.region)
        self.types = [self.agents.type(name) for name in ("coder", "tester")]

    @rule(type=st.integers(0, 1), worker=st.integers(0, 9), warm=st.booleans())
    def new(self, type: int, worker: int, warm: bool) -> None:
        state = BUILDING if warm else STARTING
        try:
            id = self.agents.new(self.types[type], worker, 2, state, 5, 77, now_ns())
        except errors.NoAgentSlot:
            assert len(self.model) == SMALL.agents
            return
        assert id not in self.model and id not in self.gone
        self.model[id] = (type, worker, state)

    @rule(data=st.data(), old=st.integers(1, 9), new=st.integers(0, 9))
    def move(self, data: st.DataObject, old: int, new: int) -> None:
        if not self.model:
            return
        id = data.draw(st.sampled_from(sorted(self.model)))
        type, worker, state = self.model[id]
        if state == old and (old, new) not in MOVES:
            with pytest.raises(errors.InvalidArgument, match=f"from {STATES[old]} to"):
                self.agents.move(id, old, new)
            return
        status = self.agents.move(id, old, new)
        assert status == (OK if state == old else BUSY)
        if status == OK and new == FREE:
            del self.model[id]
            self.gone.append(id)
        elif status == OK:
            self.model[id] = (type, worker, new)

    @rule(data=st.data(), by=st.integers(0, 9), to=st.integers(0, 9))
    def leave(self, data: st.DataObject, by: int, to: int) -> None:
        if not self.model:
            return
        id = data.draw(st.sampled_from(sorted(self.model)))
        type, worker, state = self.model[id]
        if by == to:
            with pytest.raises(errors.InvalidArgument, match=f"from worker {by} to {to}"):
                self.agents.leave(id, by, to)
            return
        status = self.agents.leave(id, by, to)
        assert status == (OK if (worker, state) == (by, ACTIVE) else BUSY)
        if status == OK:
            self.model[id] = (type, to, MOVING)
            self.left[id] = by

    @rule(type=st.integers(0, 1))
    def claim(self, type: int) -> None:
        warm = {id for id, each in self.model.items() if each[0] == type and each[2] == WARM}
        claimed = self.agents.claim(self.types[type], 3, 5, now_ns())
        if claimed is None:
            assert not warm
            return
        id, worker = claimed
        assert id in warm and worker == self.model[id][1]
        self.model[id] = (type, worker, STARTING)
        info = self.agents.look(id)
        assert info is not None and (info.priority, info.parent) == (3, 5)

    @rule(type=st.integers(0, 1))
    def spawn(self, type: int) -> None:
        warm = {id for id, each in self.model.items() if each[0] == type and each[2] == WARM}
        found = self.agents.spawn(self.types[type], 3, 5, now_ns())
        if isinstance(found, Places):
            assert not warm and len(found) == 1
            assert self.agents.settle(found, 0)
            return
        assert isinstance(found, tuple)
        id, worker = found
        assert id in warm and worker == self.model[id][1]
        self.model[id] = (type, worker, STARTING)

    @invariant()
    def records_agree(self) -> None:
        if not hasattr(self, "agents"):
            return
        for id in self.gone:
            assert self.agents.look(id) is None
            assert self.agents.route(id) == STALE
            assert self.agents.move(id, ACTIVE, FREE) == STALE
            assert self.agents.leave(id, 1, 2) == STALE
        for id, (type, worker, state) in self.model.items():
            info = self.agents.look(id)
            assert info is not None
            assert (info.id, info.type, info.worker, info.state) == (
                id,
                self.types[type],
                worker,
                state,
            )
            assert self.agents.starting(id, worker) == (
                self.types[type] if state == STARTING else -1
            )
            assert self.agents.starting(id, worker + 1) == -1
            moves = state in (MOVING, ARRIVING)
            assert info.left == (self.left[id] if moves else worker)
            routed = state in TAKING or state == DRAINING
            if state != DRAINING:  # whether a draining one takes messages is the core's choice
                assert self.agents.route(id) == (worker if routed else STALE)
        tally = self.agents.tally()
        for type, number in enumerate(self.types):
            for state in range(1, 10):
                wanted = sum(each[0] == type and each[2] == state for each in self.model.values())
                assert tally[number, state] == wanted
        for state in (WARM, STARTING, ACTIVE):
            ids = [id for id, each in self.model.items() if each[2] == state]
            found = self.agents.in_state(state)
            assert sorted(id for theirs in found.values() for id in theirs) == sorted(ids)
            assert all(self.model[id][1] == host for host in found for id in found[host])
        assert self.agents.count() == len(self.model)

    def teardown(self) -> None:
        if hasattr(self, "region"):
            self.region.close()
        self.folder.cleanup()


TestAgents = AgentMachine.TestCase


def test_types_have_numbers_and_names(agents: Agents) -> None:
    coder, tester = agents.type("coder"), agents.type("tester")
    assert coder != tester and agents.type("coder") == coder
    assert (agents.type_name(coder), agents.type_name(99)) == ("coder", None)
    assert agents.type("unknown", False) is None
    assert agents.types == SMALL.types and agents.capacity == SMALL.agents
    agents.type("three")
    agents.type("four")
    with pytest.raises(errors.NoSlot, match="'five': every one of the 4 types"):
        agents.type("five")
    with pytest.raises(errors.InvalidArgument, match="is no name"):
        agents.type("")


def test_a_record(agents: Agents) -> None:
    id = agents.new(agents.type("coder"), 7, 1, BUILDING, 5, 42, 1000)
    assert agents.look(id) == AgentInfo(
        id=id,
        state=BUILDING,
        type=0,
        worker=7,
        priority=1,
        depth=0,
        limit=5,
        handled=0,
        failed=0,
        restarts=0,
        touched_ns=0,
        spawned_ns=1000,
        parent=42,
        left=7,
    )
    assert agents.at(id & ((1 << SLOT_BITS) - 1)) == agents.look(id)
    assert STATES[BUILDING] == "building" and len(STATES) == 10
    with pytest.raises(errors.InvalidArgument, match="record 64 of 64"):
        agents.at(64)


def test_counters(agents: Agents) -> None:
    id = active(agents)
    slot = id & ((1 << SLOT_BITS) - 1)
    agents.handled(slot, False, 10)
    agents.handled(slot, True, 20)
    agents.restarted(slot)
    agents.set_depth(slot, 4)
    info = agents.look(id)
    assert info is not None
    assert (info.handled, info.failed, info.restarts, info.touched_ns, info.depth) == (
        2,
        1,
        1,
        20,
        4,
    )


def test_route_knows_full_mailboxes_and_stale_ids(agents: Agents) -> None:
    id = active(agents, worker=2, limit=5)
    slot = id & ((1 << SLOT_BITS) - 1)
    assert agents.route(id) == 2
    agents.set_depth(slot, 5)
    assert agents.route(id) == FULL
    agents.set_depth(slot, 4)
    assert agents.route(id) == 2
    assert agents.move(id, ACTIVE, STOPPED) == OK
    assert agents.route(id) == STALE
    assert agents.move(id, STOPPED, FREE) == OK
    assert agents.look(id) is None and agents.route(id) == STALE
    assert agents.route(2**63) == STALE and agents.look(2**63) is None
    unlimited = active(agents, worker=3, limit=NO_LIMIT)
    agents.set_depth(unlimited & ((1 << SLOT_BITS) - 1), 1_000_000)
    assert agents.route(unlimited) == 3


def test_warm_agents_are_claimed_once_and_by_type(agents: Agents) -> None:
    coder, tester = agents.type("coder"), agents.type("tester")
    made = []
    for _ in range(3):
        id = agents.new(coder, 1, 0, BUILDING, 5, 0, 1)
        assert agents.move(id, BUILDING, WARM) == OK
        made.append(id)
    assert agents.claim(tester, 0, 0, 1) is None
    assert sorted(agents.claim(coder, 0, 0, 1) or () for _ in made) == sorted(
        (id, 1) for id in made
    )
    assert agents.claim(coder, 0, 0, 1) is None
    with pytest.raises(errors.InvalidArgument, match="type 99"):
        agents.claim(99, 0, 0, 1)


def test_a_spawn_has_a_place_whether_there_is_a_warm_agent_or_none(agents: Agents) -> None:
    coder = agents.type("coder")
    agents.set_limit(coder, 2)
    id = agents.new(coder, 1, 0, BUILDING, 5, 0, 1)
    assert agents.move(id, BUILDING, WARM) == OK
    assert agents.spawn(coder, 2, 7, 9) == (id, 1)
    info = agents.look(id)
    assert info is not None
    assert (info.state, info.priority, info.parent, info.spawned_ns) == (STARTING, 2, 7, 9)
    assert (agents.census(coder).alive, agents.census(coder).warm) == (1, 0)
    assert isinstance(places := agents.spawn(coder, 2, 7, 9), Places)
    assert agents.census(coder).alive == 2
    assert agents.spawn(coder, 2, 7, 9) == FULL
    assert agents.settle(places, 0) and agents.census(coder).alive == 1
    agents.set_limit(None, 1)
    assert agents.spawn(coder, 2, 7, 9) == NO_AGENT_SLOT
    assert agents.census(coder).alive == 1
    with pytest.raises(errors.InvalidArgument, match="type 99"):
        agents.spawn(99, 0, 0, 1)
    with pytest.raises(errors.InvalidArgument, match="priority 9"):
        agents.set_limit(None, 0)
        agents.spawn(coder, 9, 0, 1)
    assert agents.census(coder).alive == 1


def test_every_record_used(agents: Agents) -> None:
    for _ in range(SMALL.agents):
        active(agents)
    with pytest.raises(errors.NoAgentSlot, match="with 64 records in all"):
        active(agents)
    with pytest.raises(errors.InvalidArgument):
        agents.new(0, 0, 0, ACTIVE, 5, 0, 1)


def test_restarts_are_counted_in_a_period(agents: Agents) -> None:
    slot = active(agents) & ((1 << SLOT_BITS) - 1)
    second = 1_000_000_000
    assert [agents.relapsed(slot, n * second, 10 * second) for n in (100, 101, 110)] == [1, 2, 3]
    agents.settled(slot)
    assert agents.relapsed(slot, 110 * second, 10 * second) == 3
    assert agents.relapsed(slot, 111 * second, 10 * second) == 1  # the next period
    agents.settled(slot)
    agents.settled(slot)  # there is none to take off
    assert agents.relapsed(slot, 112 * second, 10 * second) == 1
    assert agents.relapsed(SMALL.agents, 1, 1) == 0


def test_tally_of_one_worker(agents: Agents) -> None:
    ids = [active(agents, worker) for worker in (1, 1, 2)]
    assert agents.move(ids[1], ACTIVE, FAILED) == OK
    assert agents.tally(1)[0].tolist() == [0, 0, 0, 0, 1, 0, 0, 1, 0, 0]
    assert agents.tally(2)[0].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert agents.tally(3).sum() == 0
    assert agents.tally().shape == (SMALL.types, 10) and agents.count() == 3
