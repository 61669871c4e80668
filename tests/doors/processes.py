"""A state machine whose rules run in several processes, and how it is run and judged.

Stands on Hypothesis, on `doors.actors` and `doors.laps`. The model lives in the test, in each
machine; the processes share nothing but the region. Does not know any door's rules.
"""

import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from doors.actors import Actor
from doors.laps import Laps
from doors.small import SMALL
from ultrafast.core import Recovery, Region

__all__ = ["PROCESSES", "ProcessMachine", "explore", "refute"]

PROCESSES = 3
LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
ROUNDS = 10
"""Chance may pass something rare by, though not ten times: each round has another seed."""
QUICK = [Phase.generate]
CALM = 6
"""Rules between two deaths, so that there is something to die with."""


class ProcessMachine(RuleBasedStateMachine):
    """Three other processes, attached to one small region whose numbers are about to wrap.

    `seen` counts what the executions of a machine came upon; a check that came upon nothing has
    proven nothing, so `explore` wants every one of `wanted`.
    """

    seen: ClassVar[Counter[str]]
    wanted: ClassVar[tuple[str, ...]] = ()

    def begin(self, before: int, processes: int = PROCESSES, **sizes: Any) -> None:
        """Make the region, its numbers `before` steps from their wrap, and have it joined."""
        self.folder = tempfile.TemporaryDirectory(prefix="ultrafast-")
        self.sizes = msgspec.structs.replace(SMALL, **{"shards": 1, **sizes})
        self.path = Path(self.folder.name, "ultrafast-p")
        self.region = Region.create(self.path, self.sizes)
        self.laps = Laps(self.path, self.sizes)
        self.laps.begin(before)
        self.actors = [Actor(self.path) for _ in range(processes)]
        self.calm = 0
        self.note("examples")

    def note(self, *what: str) -> None:
        self.seen.update(what)

    def do(self, actor: int, *command: Any) -> Any:
        """One rule in one process."""
        self.note("rules")
        self.calm += 1
        return self.actors[actor].do(*command)

    def may_die(self) -> bool:
        """A precondition: deaths are no everyday thing."""
        return self.calm >= CALM

    def die(self, victim: int, mender: int) -> Recovery:
        """Kill a process; another mends what it left, and a third takes its place."""
        self.actors[victim].kill()
        slot = self.actors[victim].slot
        assert not self.region.alive(slot)
        mended = self.actors[mender].do("call", "region", "recover", slot)
        assert isinstance(mended, Recovery) and mended.slot == slot
        assert self.actors[mender].do("call", "region", "recover", slot) is None
        self.actors[victim] = Actor(self.path)
        assert self.actors[victim].slot == slot
        self.note("deaths", "rules")
        self.calm = 0
        return mended

    def teardown(self) -> None:
        if not hasattr(self, "actors"):
            return
        try:
            if sys.exc_info()[0] is None:  # else it is broken off, with nothing more to judge
                self.finish()
            for name, count in self.laps.crossed().items():
                self.seen[f"{name} wrapped"] += count
        finally:
            for actor in self.actors:
                actor.forget()
            self.laps.close()
            self.region.close()
            self.folder.cleanup()

    def finish(self) -> None:
        """Judge what is left; the machine's own."""
        raise NotImplementedError


def _run(
    machine: type[ProcessMachine], number: int, examples: int, steps: int, phases: list[Phase]
) -> None:
    # Without a seed of its own a round is the last one again wherever Hypothesis finds that it
    # runs in continuous integration, for there it takes each test's seed from the test.
    seed(number)(machine)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # Hypothesis has no types here
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=True,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


def explore(machine: type[ProcessMachine], examples: int, steps: int = 50) -> None:
    """Run it; every disagreement with the model fails, and so does having seen too little.

    The short form has the same seeds everywhere, so that what one machine finds, every machine
    finds. With HYPOTHESIS_PROFILE=long there are fifty times as many examples from seeds of
    their own, and a disagreement is shrunk, which takes minutes; otherwise it is reported as it
    was found.
    """
    machine.seen = Counter()
    missing = ["anything"]
    first = random.randrange(2**32) if LONG else 0
    for number in range(first, first + ROUNDS):
        if missing:
            phases = [*QUICK, Phase.shrink] if LONG else QUICK
            _run(machine, number, examples * (50 if LONG else 1), steps, phases)
            missing = [what for what in machine.wanted if not machine.seen[what]]
    print(machine.__name__, dict(sorted(machine.seen.items())))
    assert not missing, f"{machine.__name__} never came upon: {', '.join(missing)}"


def refute(machine: type[ProcessMachine], examples: int = 30) -> AssertionError:
    """Run a machine whose model is wrong; the disagreement that it must meet."""
    machine.seen = Counter()
    try:
        for number in range(ROUNDS):
            _run(machine, number, examples, 50, QUICK)
    except AssertionError as error:
        return error
    except BaseExceptionGroup as errors:
        wrong = errors.split(AssertionError)
        assert wrong[0] is not None and wrong[1] is None, errors
        return AssertionError(str(errors))
    raise RuntimeError(f"{machine.__name__} believes something wrong, and nothing contradicted it")
