"""What is measured, and how the parent has a team measure it once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from ..figures import latencies_us, rate_per_s
from ..teams import Member, member, now_ns
from . import orders
from .ends import BATCH, Contestant

__all__ = ["SCENARIOS", "Pace", "Scenario", "Team", "team"]

_AHEAD_NS = 20_000_000  # between the order to send and the first message
_COUNT_MAX = 4_000_000


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One block of the table.

    Parameters
    ----------
    key, title : str
        In JSON, and in the table.
    kind : {"paced", "trips", "flow"}
    payload_bytes : int
    senders : int
    spin : bool
        Both sides poll; only contestants that do.
    batches : bool
        As many at once as possible; contestants that can't, one by one.
    in_place : bool
        Messages are handed over where they lie; only contestants that lend.
    """

    key: str
    title: str
    kind: str
    payload_bytes: int = 64
    senders: int = 1
    spin: bool = False
    batches: bool = False
    in_place: bool = False

    @property
    def unit(self) -> str:
        """Of its figures: "us", of which less is better, or "per_s"."""
        return "per_s" if self.kind == "flow" else "us"


def _flows() -> Iterator[Scenario]:
    for batches, way in ((False, "one by one"), (True, f"batches of {BATCH}")):
        for size, name in ((64, "64 B"), (1_024, "1 KiB"), (65_536, "64 KiB")):
            yield Scenario(
                key=f"throughput-{size}{'-batches' if batches else ''}",
                title=f"throughput, {name}, {way}",
                kind="flow",
                payload_bytes=size,
                batches=batches,
            )
        yield Scenario(
            key=f"four-to-one-64{'-batches' if batches else ''}",
            title=f"throughput, 64 B, {way}, four to one",
            kind="flow",
            senders=4,
            batches=batches,
        )


PER_S = 1_000

SCENARIOS = (
    Scenario(
        key="latency",
        title=f"one-way latency, 64 B at {PER_S:,}/s, to a receiver that sleeps",
        kind="paced",
    ),
    Scenario(key="round-trip", title="round trip, 64 B, both sides block", kind="trips"),
    Scenario(
        key="round-trip-spin", title="round trip, 64 B, both sides poll", kind="trips", spin=True
    ),
    *_flows(),
    Scenario(
        key="throughput-65536-in-place",
        title=f"throughput, 64 KiB lent, {orders.MARK_BYTES} B of it written and read",
        kind="flow",
        payload_bytes=65_536,
        in_place=True,
    ),
)


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How long a turn is, about, and when it is given up."""

    paced_s: float
    turn_s: float
    limit_s: float


class Team:
    """A contestant's processes: one far end, and one or four near ones."""

    def __init__(self, contestant: type[Contestant], far: Member, near: list[Member]) -> None:
        self.contestant = contestant
        self._far = far
        self._near = near

    def pids(self) -> list[int]:
        """Of all its processes."""
        return [self._far.pid, *(each.pid for each in self._near)]

    def does_batches(self, scenario: Scenario) -> bool:
        """Whether several messages at a time are handed over in it."""
        return scenario.batches and scenario.senders <= self.contestant.batch_senders

    def fitting(self, scenario: Scenario, pace: Pace) -> int:
        """Messages of a turn that takes as long as the pace says; tried out, and so warmed up."""
        if scenario.kind == "paced":
            self.measure(scenario, 50, pace)
            return max(50, int(pace.paced_s * PER_S))
        count = 10 * BATCH * scenario.senders if scenario.payload_bytes < 10_000 else 4 * BATCH
        for part in (0.2, 1.0):
            values, _ = self.measure(scenario, count, pace)
            per_s = values["per_s"] if scenario.kind == "flow" else 1e6 / values["p50"]
            step = BATCH * scenario.senders
            count = min(_COUNT_MAX, max(step, int(per_s * pace.turn_s * part) // step * step))
        return count

    def measure(self, scenario: Scenario, count: int, pace: Pace) -> tuple[dict[str, float], int]:
        """Figures of one turn, and the number of samples they stand on."""
        how: dict[str, Callable[[Scenario, int, float], tuple[dict[str, float], int]]] = {
            "paced": self._paced,
            "trips": self._trips,
            "flow": self._flow,
        }
        return how[scenario.kind](scenario, count, pace.limit_s)

    def _paced(
        self, scenario: Scenario, count: int, limit_s: float
    ) -> tuple[dict[str, float], int]:
        deadline = time.monotonic() + limit_s
        near, size = self._near[0], scenario.payload_bytes
        self._far.begin(orders.paced_in, count, size, timeout_s=limit_s)
        start = now_ns() + _AHEAD_NS
        period = 1_000_000_000 // PER_S
        near.begin(orders.paced_out, start, count, period, size, timeout_s=limit_s)
        near.answer(deadline)
        times = self._far.answer(deadline)
        return latencies_us(times), len(times)

    def _trips(
        self, scenario: Scenario, count: int, limit_s: float
    ) -> tuple[dict[str, float], int]:
        deadline = time.monotonic() + limit_s
        near = self._near[0]
        self._far.begin(orders.answer_trips, count, scenario.spin, timeout_s=limit_s)
        near.begin(orders.trips, count, scenario.payload_bytes, scenario.spin, timeout_s=limit_s)
        times = near.answer(deadline)
        self._far.answer(deadline)
        return latencies_us(times), len(times)

    def _flow(self, scenario: Scenario, count: int, limit_s: float) -> tuple[dict[str, float], int]:
        deadline = time.monotonic() + limit_s
        way = orders.IN_PLACE if scenario.in_place else orders.ONE_BY_ONE
        if self.does_batches(scenario):
            way = orders.BATCHES
        size = scenario.payload_bytes
        self._far.begin(orders.flow_in, count, size, way, timeout_s=limit_s)
        start = now_ns() + _AHEAD_NS
        for each in self._near:
            share = count // len(self._near)
            each.begin(orders.flow_out, start, share, size, way, timeout_s=limit_s)
        begun = min(each.answer(deadline) for each in self._near)
        ended = self._far.answer(deadline)
        return rate_per_s(count, ended - begun), count


@contextmanager
def team(contestant: type[Contestant], senders: int) -> Iterator[Team]:
    """The processes of a contestant, their ends open; gone when the block ends."""
    with ExitStack() as stack:
        plumbing = stack.enter_context(contestant.plumbing(senders))
        title = contestant.name
        far = stack.enter_context(member(f"{title}, receiver", contestant.far, plumbing))
        near = [
            stack.enter_context(
                member(f"{title}, sender {number}", contestant.near, plumbing, number)
            )
            for number in range(senders)
        ]
        for each in (far, *near):
            each.ready()
        yield Team(contestant, far, near)
