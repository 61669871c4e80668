"""Process slots and queue names over several processes against a list and a dict."""

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from doors.actors import Actor
from doors.processes import PROCESSES, ProcessMachine, explore, refute
from ultrafast import errors
from ultrafast.core import Queues, Region, _region

ACTORS = st.integers(0, PROCESSES - 1)
ROLES = st.sampled_from([_region.ROLE_WORKER, _region.ROLE_CLIENT, _region.ROLE_MANAGER])
NAMES = st.sampled_from(["inbox", "a", "ab", "zweite Schlange ü", "x" * 63])


@dataclass
class Slot:
    """A process slot, as the model knows it."""

    incarnation: int
    actor: Actor | None = None
    role: int = 0
    queue: int | None = None
    beat_ns: int = 0
    dead: bool = False


class SlotMachine(ProcessMachine):
    """A region for one, two or four; processes come, go in good order or not, and are mended."""

    wanted = (
        "no slot",
        "left",
        "died",
        "mended",
        "taken again",
        "incarnation wrapped",
        "nobody dead",
    )

    @initialize(before=st.integers(1, 4), owners=st.sampled_from([4, 4, 2, 1]))
    def open(self, before: int, owners: int) -> None:
        self.begin(before, owners=owners, processes=0)
        self.slots = [Slot(1), *(Slot(2**32 - before) for _ in range(owners - 1))]
        # The maker makes room: whoever looks on has no slot.
        self.region.close()
        self.onlooker = Region.attach(self.path, read_only=True)

    def free(self) -> list[int]:
        return [n for n, slot in enumerate(self.slots) if slot.actor is None and not slot.dead]

    def those_here(self) -> list[int]:
        return [number for number, slot in enumerate(self.slots) if slot.actor is not None]

    @rule(role=ROLES, insists=st.integers(0, 5))
    def attach(self, role: int, insists: int) -> None:
        if not (free := self.free()) and insists:
            return
        self.note("rules")
        if not free:
            with pytest.raises(errors.NoSlot, match="every process slot"):
                Actor(self.path, role)
            self.note("no slot")
            return
        actor = Actor(self.path, role)
        self.actors.append(actor)
        assert actor.slot == free[0]
        incarnation = (self.slots[actor.slot].incarnation + 1) % 2**32
        if self.slots[actor.slot].role:
            self.note("taken again")
        self.slots[actor.slot] = Slot(incarnation, actor, role)

    @precondition(lambda self: self.those_here())
    @rule(data=st.data(), beat=st.integers(0, 2**64 - 1), queue=st.sampled_from([None, 0, 3]))
    def speak(self, data: st.DataObject, beat: int, queue: int | None) -> None:
        slot = self.slots[data.draw(st.sampled_from(self.those_here()))]
        assert slot.actor is not None
        self.note("rules")
        slot.actor.do("call", "region", "beat", beat)
        slot.actor.do("call", "region", "set_queue", queue)
        slot.beat_ns, slot.queue = beat, queue

    @precondition(lambda self: self.those_here())
    @rule(data=st.data(), well=st.sampled_from([False, False, True]))
    def leave(self, data: st.DataObject, well: bool) -> None:
        slot = self.slots[data.draw(st.sampled_from(self.those_here()))]
        assert slot.actor is not None
        self.note("rules", "left" if well else "died")
        if well:
            slot.actor.end()
        else:
            slot.actor.kill()
        slot.actor, slot.dead = None, not well

    def mendable(self, number: int) -> bool:
        return self.slots[number].dead

    @precondition(lambda self: self.those_here())
    @rule(data=st.data())
    def mend(self, data: st.DataObject) -> None:
        mender = self.slots[data.draw(st.sampled_from(self.those_here()))].actor
        assert mender is not None
        self.note("rules")
        for number, slot in enumerate(self.slots):
            mended = mender.do("call", "region", "recover", number)
            assert (mended is not None) is self.mendable(number)
            self.note("nobody dead" if mended is None else "mended")
            slot.dead = False

    @invariant()
    def everybody_agrees(self) -> None:
        if not hasattr(self, "onlooker"):
            return
        for number, slot in enumerate(self.slots):
            assert self.onlooker.alive(number) is (slot.actor is not None)
            info = self.onlooker.owner(number)
            assert info.incarnation == slot.incarnation
            here = slot.actor is not None or slot.dead  # nobody has looked at the dead yet
            assert info.phase == (_region.PHASE_LIVE if here else _region.PHASE_FREE)
            if slot.actor is not None:
                assert (info.role, info.queue, info.pid) == (slot.role, slot.queue, slot.actor.pid)
                assert info.heartbeat_ns == slot.beat_ns
        assert [each.slot for each in self.onlooker.owners()] == [
            number for number, slot in enumerate(self.slots) if slot.actor is not None or slot.dead
        ]

    def finish(self) -> None:
        for slot in self.slots:
            if slot.actor is not None:
                slot.actor.end()

    def teardown(self) -> None:
        if hasattr(self, "onlooker"):
            self.onlooker.close()
        super().teardown()


class NameMachine(ProcessMachine):
    """One, two or four queues; three processes that open, find and close them by name."""

    wanted = ("no slot", "opened", "found", "closed", "opening wrapped", "deaths")

    @initialize(before=st.integers(1, 4), queues=st.sampled_from([4, 2, 1]))
    def open_region(self, before: int, queues: int) -> None:
        self.begin(before, queues=queues, queue_capacity=1)
        self.names: dict[str, int] = {}
        self.mine = Queues(self.region)

    @rule(actor=ACTORS, name=NAMES)
    def open(self, actor: int, name: str) -> None:
        free = sorted({*range(self.sizes.queues)} - {*self.names.values()})
        if name not in self.names and not free:
            with pytest.raises(errors.NoSlot, match=f"one of the {self.sizes.queues} queues"):
                self.do(actor, "call", "queues", "open", name)
            self.note("no slot")
            return
        index = self.do(actor, "call", "queues", "open", name)
        assert index == self.names.get(name, free[0] if free else None)
        self.note("opened")
        self.names[name] = index

    @rule(actor=ACTORS, name=NAMES)
    def find(self, actor: int, name: str) -> None:
        assert self.do(actor, "call", "queues", "find", name) == self.names.get(name)
        self.note("found")

    @rule(actor=ACTORS, index=st.integers(0, 3))
    def close(self, actor: int, index: int) -> None:
        if index >= self.sizes.queues:
            with pytest.raises(errors.InvalidArgument):
                self.do(actor, "call", "queues", "close", index)
            return
        name = next((name for name, at in self.names.items() if at == index), None)
        assert self.do(actor, "call", "queues", "close", index) is (name is not None)
        if name is not None:
            self.forget(name)
            self.note("closed")

    def forget(self, name: str) -> None:
        del self.names[name]

    @precondition(ProcessMachine.may_die)
    @rule(victim=ACTORS, other=st.integers(1, PROCESSES - 1))
    def kill(self, victim: int, other: int) -> None:
        """A queue outlives whoever opened it."""
        self.die(victim, (victim + other) % PROCESSES)

    @invariant()
    def names_agree(self) -> None:
        if hasattr(self, "mine"):
            by_index = {index: name for name, index in self.names.items()}
            for index in range(self.sizes.queues):
                assert self.mine.name(index) == by_index.get(index)

    def finish(self) -> None:
        for actor in self.actors:
            actor.end()


class AlwaysMends(SlotMachine):
    """A model that is wrong: it thinks that a slot's process may be mended while it lives."""

    def mendable(self, number: int) -> bool:
        return self.slots[number].actor is not None or self.slots[number].dead


class NeverForgets(NameMachine):
    """Another: it thinks that a closed queue keeps its name."""

    def forget(self, name: str) -> None:
        pass


def test_slots_of_several_processes_are_a_list() -> None:
    explore(SlotMachine, examples=25)


def test_names_of_several_processes_are_a_dict() -> None:
    explore(NameMachine, examples=20)


@pytest.mark.parametrize("wrong", [AlwaysMends, NeverForgets])
def test_a_wrong_model_of_slots_and_names_is_refuted(wrong: type[ProcessMachine]) -> None:
    refute(wrong)
