"""When a worker is overloaded, and which of its agents it gives away: judged by figures alone."""

import asyncio
import os
import time

from hypothesis import given
from hypothesis import strategies as st

from ultrafast.agents.placing.rebalancing import Judge, Order, Shedding, cpu_s
from ultrafast.agents.placing.relocation import Answer

ELSEWHERE = 7


def test_one_look_is_no_overload() -> None:
    judge = Judge(0.8, looks=3)
    for loads in ({0: 1.0, 1: 0.0}, {0: 1.0, 1: 0.0}, {0: 0.5, 1: 0.0}, {0: 1.0, 1: 0.0}):
        assert judge.look(loads) is None
    assert judge.look({0: 1.0, 1: 0.0}) is None
    assert judge.look({0: 1.0, 1: 0.0}) == Order(0, 1, 0.5)
    assert judge.look({0: 1.0, 1: 0.0}) is None  # it begins anew


def test_another_one_each_time_is_no_overload() -> None:
    judge = Judge(0.8, looks=2)
    for number in range(10):
        assert judge.look({number % 2: 1.0, 1 - number % 2: 0.2}) is None


def test_where_all_are_busy_or_alone_nobody_is_overloaded() -> None:
    judge = Judge(0.8, looks=1)
    assert judge.look({0: 1.0, 1: 0.75}) is None
    assert judge.look({0: 0.7, 1: 0.0}) is None
    assert judge.look({3: 1.0}) is None and judge.look({}) is None
    assert judge.look({0: 0.5, 1: 1.0, 2: 0.2}) == Order(1, 2, 0.4)


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=5))
def test_what_moves_never_turns_the_roles_round(loads: list[float]) -> None:
    order = Judge(0.5, looks=1).look(dict(enumerate(loads)))
    if order is not None:
        moved = loads[order.worker] * order.share
        assert loads[order.worker] - moved >= loads[order.to] + moved - 0.01


class Worker:
    """Agents that handle so many messages between two looks; some are at work for some time."""

    def __init__(self, rates: dict[int, int], busy: dict[int, int] | None = None) -> None:
        self.rates = dict(rates)
        self.counts = dict.fromkeys(rates, 0)
        self.busy = dict(busy or {})
        self.gone: list[int] = []
        self.pauses = 0
        self.shedding = Shedding(lambda: self.rates, self.counts.get, self.give_away, self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.pauses += 1
        for each, rate in self.rates.items():
            self.counts[each] += rate

    def give_away(self, ids: list[int], to: int) -> list[Answer]:
        assert to == ELSEWHERE
        answers = []
        for each in ids:
            if self.busy.get(each, 0) > 0:
                self.busy[each] -= 1
                answers.append(Answer.BUSY)
            else:
                self.gone.append(each)
                answers.append(Answer.BEGUN)
        return answers

    def shed(self, share: float) -> list[int]:
        went = asyncio.run(self.shedding.shed(ELSEWHERE, share))
        assert went == len(self.gone)
        return self.gone


@given(st.dictionaries(st.integers(1, 99), st.integers(0, 50), max_size=30), st.floats(0.0, 0.5))
def test_what_goes_handles_no_more_than_the_share(rates: dict[int, int], share: float) -> None:
    gone = Worker(rates).shed(share)
    assert len(set(gone)) == len(gone)
    assert all(rates[each] > 0 for each in gone)
    left = share * sum(rates.values()) - sum(rates[each] for each in gone)
    assert left >= -1e-9
    # None of those that stay would have had room, but for those that do nothing.
    assert all(rate > left for each, rate in rates.items() if rate and each not in gone)


def test_the_one_that_does_it_all_stays() -> None:
    assert Worker({1: 1000, 2: 3, 3: 0}).shed(0.5) == [2]
    assert Worker({1: 1000}).shed(0.5) == []


def test_one_at_work_is_asked_again_but_not_for_ever() -> None:
    worker = Worker({1: 5, 2: 5, 3: 5, 4: 5}, busy={1: 3, 2: 1000})
    assert worker.shed(0.5) == [1]
    assert worker.busy[1] == 0 and worker.busy[2] > 900 and worker.pauses < 30


def test_who_came_lately_stays() -> None:
    worker = Worker({1: 5, 2: 5, 3: 5})
    worker.shedding.came(1)
    worker.shedding.came(2)
    assert worker.shed(0.7) == [3]


def test_one_order_at_a_time() -> None:
    async def main() -> None:
        worker = Worker({1: 5, 2: 5})
        first = asyncio.ensure_future(worker.shedding.shed(ELSEWHERE, 0.5))
        worker.shedding._busy = True
        assert await worker.shedding.shed(ELSEWHERE, 0.5) == 0
        worker.shedding._busy = False
        assert await first == 1

    asyncio.run(main())


def test_processor_time_is_the_operating_systems() -> None:
    before = cpu_s(os.getpid())
    assert before is not None
    while time.process_time() < before + 0.05:
        pass
    after = cpu_s(os.getpid())
    assert after is not None and after > before
    assert abs(after - time.process_time()) < 1.0
    assert cpu_s(2**22 + 1) is None
