"""`ultrafast.Queue` beside `multiprocessing.Queue`: items between processes, and there and back.

Both are used by the same lines, one item at a time, in turns.
"""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median
from time import perf_counter_ns
from typing import Any, NamedTuple

from ultrafast import Queue

from ._measure import Times, marked, quicker, reports, summary
from ._places import SPAWN, peer

_WAIT_S = 60.0
_KINDS = ("ultrafast.Queue", "multiprocessing.Queue")


def _queue(kind: str, maxsize: int = 0) -> Any:
    return Queue(maxsize) if kind == _KINDS[0] else SPAWN.Queue(maxsize)


class _Rates(NamedTuple):
    ours: float
    theirs: float


class Crossing:
    """Bytes put by other processes and got by this one, items a second; medians of turns.

    With `maxsize` 1,000 both are bounded alike. The unbounded ones are not alike: ours makes its
    senders wait at 8,192 items (fewer of the large ones), while theirs grow in their senders.
    """

    params = ((1, 4), (64, 1_024, 65_536), (0, 1_000))
    param_names = ("senders", "payload_bytes", "maxsize")

    @marked(timeout=600)
    def setup_cache(self) -> dict[tuple[int, int, int], _Rates]:
        found = {}
        for senders in self.params[0]:
            for payload_bytes in self.params[1]:
                for maxsize in self.params[2]:
                    rates: dict[str, list[float]] = {kind: [] for kind in _KINDS}
                    for _ in range(quicker(3, 1)):
                        for kind in _KINDS:
                            rates[kind].append(_cross(kind, senders, payload_bytes, maxsize))
                    found[senders, payload_bytes, maxsize] = _Rates(*map(median, rates.values()))
        return found

    @marked(unit="items/s")
    def track_items_per_s(self, rates: dict[Any, _Rates], *params: int) -> float:
        return round(rates[params].ours)

    @marked(unit="items/s")
    def track_multiprocessing_items_per_s(self, rates: dict[Any, _Rates], *params: int) -> float:
        return round(rates[params].theirs)

    @marked(unit="x multiprocessing.Queue")
    def track_ratio(self, rates: dict[Any, _Rates], *params: int) -> float:
        return round(rates[params].ours / rates[params].theirs, 2)


def _cross(kind: str, senders: int, payload_bytes: int, maxsize: int) -> float:
    # So that each turn takes about a second.
    full = 400_000 if kind == _KINDS[0] else 40_000
    count = quicker(full if payload_bytes < 10_000 else full // 20, 1_000) // senders
    ready, go = SPAWN.Semaphore(0), SPAWN.Event()
    line = _queue(kind, maxsize)
    with ExitStack() as stack:
        for _ in range(senders):
            stack.enter_context(peer(_put, line, payload_bytes, count, ready, go))
        for _ in range(senders):
            if not ready.acquire(timeout=_WAIT_S):
                raise TimeoutError(f"a sender did not come up within {_WAIT_S:g} s")
        total = senders * count
        get = line.get
        go.set()
        start = perf_counter_ns()
        for _ in range(total):
            get()
        rate = total / (perf_counter_ns() - start) * 1e9
    line.close()
    return rate


def _put(line: Any, payload_bytes: int, count: int, ready: Any, go: Any) -> None:
    payload = bytes(payload_bytes)
    put = line.put
    ready.release()
    go.wait(_WAIT_S)
    for _ in range(count):
        put(payload)


@reports("us")
class RoundTrip:
    """64 bytes to another process through one queue, and back through a second."""

    params = (_KINDS,)
    param_names = ("through",)

    @marked(timeout=120)
    def setup_cache(self) -> dict[tuple[str], Times]:
        samples: dict[str, list[int]] = {kind: [] for kind in _KINDS}
        payload = bytes(64)
        with ExitStack() as stack:
            lines = {kind: (_queue(kind), _queue(kind)) for kind in _KINDS}
            for there, back in lines.values():
                stack.enter_context(peer(_answer, there, back))
                there.put(payload)
                back.get(timeout=_WAIT_S)
            for _ in range(10):
                for kind, (there, back) in lines.items():
                    for _ in range(quicker(400, 20)):
                        start = perf_counter_ns()
                        there.put(payload)
                        back.get(timeout=_WAIT_S)
                        samples[kind].append(perf_counter_ns() - start)
            for there, _ in lines.values():
                there.put(None)
        for line in (each for pair in lines.values() for each in pair):
            line.close()
        return {(kind,): summary(times) for kind, times in samples.items()}


def _answer(there: Any, back: Any) -> None:
    while (item := there.get()) is not None:
        back.put(item)
