"""Agent records over several processes against a dict: ids, claims, what the dead were making."""

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from doors.processes import PROCESSES, ProcessMachine, explore, refute
from ultrafast import errors
from ultrafast.core import Agents, now_ns
from ultrafast.core._agents import (
    ACTIVE,
    BUILDING,
    FREE,
    MOVES,
    NO_LIMIT,
    SLOT_BITS,
    STARTING,
    STOPPED,
    WARM,
)
from ultrafast.core._status import BUSY, FULL, OK, STALE

ACTORS = st.integers(0, PROCESSES - 1)
TYPES = ("coder", "tester")


@dataclass
class Known:
    """An agent, as the model knows it."""

    type: int
    worker: int
    priority: int
    state: int
    limit: int
    maker: int | None
    """Who is building or starting it."""
    depth: int = 0
    handled: int = 0
    failed: int = 0
    restarts: int = 0


class AgentMachine(ProcessMachine):
    """One to four records and as many hints; three processes that make, claim, move and die."""

    wanted = (
        "every record used",
        "claimed",
        "nothing to claim",
        "mailbox full",
        "move refused",
        "freed with its builder",
        "stopped with its starter",
        "deaths",
        "generation wrapped",
        "hint's lap wrapped",
    )

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[int, Known] = {}
        self.gone: list[int] = []

    @initialize(
        before=st.integers(1, 4),
        agents=st.sampled_from([4, 4, 2, 1]),
        warm=st.sampled_from([1, 2, 4]),
    )
    def open(self, before: int, agents: int, warm: int) -> None:
        self.begin(before, agents=agents, types=2, warm=warm)
        self.mine = Agents(self.region)
        for number, name in enumerate(TYPES):
            assert [self.do(each, "call", "agents", "type", name) for each in range(PROCESSES)] == [
                number
            ] * PROCESSES

    def ended(self, id: int) -> None:
        del self.model[id]
        self.gone.append(id)

    @rule(
        actor=ACTORS,
        type=st.integers(0, 1),
        worker=st.integers(0, 9),
        warm=st.booleans(),
        limit=st.sampled_from([1, 3, NO_LIMIT]),
    )
    def new(self, actor: int, type: int, worker: int, warm: bool, limit: int) -> None:
        state = BUILDING if warm else STARTING
        make = ("call", "agents", "new", type, worker, 2, state, limit, 77, now_ns())
        if len(self.model) == self.sizes.agents:
            with pytest.raises(errors.NoAgentSlot):
                self.do(actor, *make)
            self.note("every record used")
            return
        id = self.do(actor, *make)
        assert id != 0 and id not in self.model and id not in self.gone
        self.model[id] = Known(type, worker, 2, state, limit, actor)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), actor=ACTORS, right=st.booleans(), new=st.integers(0, 7))
    def move(self, data: st.DataObject, actor: int, right: bool, new: int) -> None:
        id = data.draw(st.sampled_from(sorted(self.model)))
        known = self.model[id]
        old = known.state if right else (known.state + 1) % 8
        if right and (old, new) not in MOVES:
            with pytest.raises(errors.InvalidArgument):
                self.do(actor, "call", "agents", "move", id, old, new)
            self.note("move refused")
            return
        assert self.do(actor, "call", "agents", "move", id, old, new) == (OK if right else BUSY)
        if right and new == FREE:
            self.ended(id)
        elif right:
            known.state, known.maker = new, actor if new in (BUILDING, STARTING) else None

    @rule(actor=ACTORS, type=st.integers(0, 1))
    def warm_up(self, actor: int, type: int) -> None:
        """Make as many warm ones as there is room for."""
        while len(self.model) < self.sizes.agents:
            self.new(actor, type, 1, True, 3)
            id = next(reversed(self.model))
            assert self.do(actor, "call", "agents", "move", id, BUILDING, WARM) == OK
            self.model[id].state, self.model[id].maker = WARM, None

    @rule(actor=ACTORS, type=st.integers(0, 1), priority=st.integers(0, 3))
    def claim(self, actor: int, type: int, priority: int) -> None:
        claimed = self.do(actor, "call", "agents", "claim", type, priority, 5, now_ns())
        warm = [id for id, each in self.model.items() if (each.type, each.state) == (type, WARM)]
        if claimed is None:
            assert not warm
            self.note("nothing to claim")
            return
        id, worker = claimed
        assert id in warm and worker == self.model[id].worker
        known = self.model[id]
        known.state, known.priority, known.maker = STARTING, priority, actor
        info = self.mine.look(id)
        assert info is not None and info.parent == 5
        self.note("claimed")

    @precondition(lambda self: self.model)
    @rule(data=st.data(), actor=ACTORS, failed=st.booleans(), depth=st.integers(0, 4))
    def count(self, data: st.DataObject, actor: int, failed: bool, depth: int) -> None:
        """What its worker says of it; whoever is its worker."""
        id = data.draw(st.sampled_from(sorted(self.model)))
        slot, known = id & ((1 << SLOT_BITS) - 1), self.model[id]
        self.do(actor, "call", "agents", "handled", slot, failed, 9)
        self.do(actor, "call", "agents", "set_depth", slot, depth)
        self.do(actor, "call", "agents", "restarted", slot)
        known.handled, known.failed = known.handled + 1, known.failed + failed
        known.depth, known.restarts = depth, known.restarts + 1

    @precondition(
        lambda self: self.may_die() and any(a.maker is not None for a in self.model.values())
    )
    @rule(victim=ACTORS, other=st.integers(1, PROCESSES - 1))
    def kill(self, victim: int, other: int) -> None:
        mended = self.die(victim, (victim + other) % PROCESSES)
        made = [id for id, known in self.model.items() if known.maker == victim]
        building = [id for id in made if self.model[id].state == BUILDING]
        starting = [id for id in made if self.model[id].state == STARTING]
        warm = sum(known.state == WARM for known in self.model.values())
        assert (mended.freed_agents, mended.stopped_agents) == (len(building), len(starting))
        assert mended.warm_agents == warm
        for id in building:
            self.ended(id)
            self.note("freed with its builder")
        for id in starting:
            self.model[id].state, self.model[id].maker = STOPPED, None
            self.note("stopped with its starter")

    @invariant()
    def records_agree(self) -> None:
        if not hasattr(self, "mine"):
            return
        for id in self.gone:
            assert self.mine.look(id) is None and self.mine.route(id) == STALE
            assert self.mine.move(id, ACTIVE, FREE) == STALE
        for id, known in self.model.items():
            info = self.mine.look(id)
            assert info is not None and info.id == id
            assert (info.type, info.worker, info.priority, info.state) == (
                known.type,
                known.worker,
                known.priority,
                known.state,
            )
            assert (info.depth, info.limit, info.handled, info.failed, info.restarts) == (
                known.depth,
                known.limit,
                known.handled,
                known.failed,
                known.restarts,
            )
            assert self.mine.route(id) == self.route(known)
        assert self.mine.count() == len(self.model)

    def route(self, known: Known) -> int:
        if known.state not in (STARTING, ACTIVE):
            return STALE
        if known.depth >= known.limit:
            self.note("mailbox full")
            return FULL
        return known.worker

    def finish(self) -> None:
        for id in list(self.model):
            assert self.do(0, "call", "agents", "move", id, self.model[id].state, FREE) == OK
        assert self.mine.count() == 0
        for actor in self.actors:
            actor.end()


class Immortal(AgentMachine):
    """A model that is wrong: it thinks that an id outlives its agent."""

    def ended(self, id: int) -> None:
        self.model[id].state = FREE


class Boundless(AgentMachine):
    """Another: it thinks that mailboxes are never full."""

    def route(self, known: Known) -> int:
        return known.worker if known.state in (STARTING, ACTIVE) else STALE


def test_agents_of_several_processes_are_a_dict() -> None:
    explore(AgentMachine, examples=30)


@pytest.mark.parametrize("wrong", [Immortal, Boundless])
def test_a_wrong_model_of_agents_is_refuted(wrong: type[AgentMachine]) -> None:
    refute(wrong)
