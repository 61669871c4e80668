"""A watched end that was written is told as written, however soon the record is seen to be gone."""

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from ultrafast.agents.monitors import AgentEnded, Watch


class Ends:
    """A process that watches agent 7, and what it sees."""

    def __init__(self, *, lives: bool) -> None:
        self.lives = lives
        self.watchers: list[Any] = []
        self.dropped = 0
        endpoint: Any = SimpleNamespace(
            agents=SimpleNamespace(look=lambda _: object() if self.lives else None),
            correlation=lambda: 11,
            on=lambda kind, told: setattr(self, "told", told),
            index=3,
            closed=False,
            region=SimpleNamespace(closed=False),
        )
        cards: Any = SimpleNamespace(update=self._update, drop=self._drop, read=lambda _: None)
        self.watch = Watch(endpoint, cards)
        self.monitor = self.watch.monitor(7)

    def _update(self, agent: int, change: Any) -> None:
        change(self)

    def _drop(self, agent: int) -> None:
        self.dropped += 1

    def write(self, how: str) -> None:
        end = msgspec.msgpack.encode({"agent": 7, "how": how, "reason": "r"})
        self.told(SimpleNamespace(correlation=11, payload=end, release=lambda: None))  # type: ignore[attr-defined]  # set by `on`


def run(body: Any) -> None:
    asyncio.run(body())


def test_what_was_written_is_told_though_a_look_came_before_it_was_read() -> None:
    async def body() -> None:
        ends = Ends(lives=True)
        ends.lives = False
        ends.watch._look()
        ends.write("stopped")
        assert await ends.monitor.wait(1) == AgentEnded(agent=7, how="stopped", reason="r")

    run(body)


def test_an_end_that_nobody_wrote_is_told_by_the_second_look() -> None:
    async def body() -> None:
        ends = Ends(lives=True)
        ends.watch._look()
        ends.lives = False
        ends.watch._look()
        with pytest.raises(TimeoutError):
            await ends.monitor.wait(0)
        ends.watch._look()
        assert (await ends.monitor.wait(1)).how == "gone"
        ends.write("stopped")  # too late: there is one end
        assert (await ends.monitor).how == "gone" and ends.dropped == 1

    run(body)


def test_who_had_ended_before_is_gone_at_once() -> None:
    async def body() -> None:
        assert (await Ends(lives=False).monitor.wait(1)).how == "gone"

    run(body)
