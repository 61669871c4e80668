"""What becomes of messages that a killed worker had: again, once, or never again."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import ultrafast as uf
from ultrafast import errors
from ultrafast.metric_names import Counter

pytestmark = pytest.mark.usefixtures("clean_shm")


class Deadly(uf.Agent):
    """Writes down that it began; dies of what says so."""

    def on_message(self, message: uf.IncomingMessage) -> Any:
        path, word = message.body
        with open(path, "a", encoding="utf-8") as log:
            log.write(f"{word} {int(message.redelivered)}\n")
        if word == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return word


def run(body: Callable[[uf.UltraFastAgentManager], Awaitable[None]], **config: Any) -> None:
    async def main() -> None:
        settings = {"workers": 1, "max_concurrent_agents": 100, **config}
        async with uf.UltraFastAgentManager(uf.Config(**settings)) as manager:
            await body(manager)
            async with asyncio.timeout(30):
                while _open_accounts(manager):
                    await asyncio.sleep(0.01)

    asyncio.run(main())


def _open_accounts(manager: uf.UltraFastAgentManager) -> int:
    read = manager.metrics_counter
    ended = (Counter.DELIVERED, Counter.REFUSED, Counter.DEAD_LETTERED)
    return read(Counter.SENT) - sum(map(read, ended))


async def _letters(manager: uf.UltraFastAgentManager, count: int) -> list[uf.DeadLetter]:
    async with asyncio.timeout(60):
        while len(letters := manager.dead_letters()) < count:
            await asyncio.sleep(0.02)
    return letters


@pytest.mark.timeout(180)
def test_a_message_that_kills_its_worker_every_time_becomes_a_dead_letter(tmp_path: Path) -> None:
    log = tmp_path / "log"
    limit = 2

    async def body(m: uf.UltraFastAgentManager) -> None:
        m.register("deadly", Deadly, max_redeliveries=limit)
        deadly, other = await m.spawn_agents("deadly", 2)
        assert await m.send_message(None, deadly, [str(log), "die"])
        for n in range(5):
            assert await m.send_message(None, other, [str(log), f"innocent-{n}"])
        (letter,) = await _letters(m, 1)
        assert (letter.reason, letter.body[1], letter.receiver) == ("poisonous", "die", deadly)
        assert await m.request(None, deadly, [str(log), "well"], timeout_s=30.0) == "well"
        assert await m.request(None, other, [str(log), "well"], timeout_s=30.0) == "well"
        words = [line.split() for line in log.read_text().splitlines()]
        assert [mark for word, mark in words if word == "die"] == ["0"] + ["1"] * limit
        # Who was only in the same worker is handled, however often that died.
        assert {f"innocent-{n}" for n in range(5)} <= {word for word, _ in words}
        assert m.metrics_counter(Counter.WORKER_DEATHS) == limit + 1

    run(body)


@pytest.mark.timeout(180)
def test_at_most_once_a_message_in_a_dead_workers_hands_is_not_handled_again(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"

    async def body(m: uf.UltraFastAgentManager) -> None:
        m.register("deadly", Deadly, delivery="at-most-once")
        deadly = await m.spawn_agent("deadly")
        with pytest.raises(errors.MessageNotRepeated, match="died 1 times with the message"):
            await m.request(None, deadly, [str(log), "die"], timeout_s=60.0)
        (letter,) = await _letters(m, 1)
        assert (letter.reason, letter.attempts) == ("not_repeated", 1)
        assert await m.request(None, deadly, [str(log), "well"], timeout_s=30.0) == "well"
        assert log.read_text() == "die 0\nwell 0\n"

    run(body)


def test_what_register_does_not_allow_is_said() -> None:
    manager = uf.UltraFastAgentManager()
    with pytest.raises(errors.InvalidArgument, match="delivery is 'twice'"):
        manager.register("d", Deadly, delivery="twice")  # type: ignore[arg-type]  # refused, which is tested
    with pytest.raises(errors.InvalidArgument, match="max_redeliveries is 201"):
        manager.register("d", Deadly, max_redeliveries=201)
    with pytest.raises(errors.InvalidArgument, match="which has none"):
        manager.register("d", Deadly, delivery="at-most-once", max_redeliveries=1)
