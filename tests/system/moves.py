"""Move agents from worker to worker under load, kill workers meanwhile, and read what became of it.

The short form runs in the suite (`test_moving.py`); the long one is this file:

    .venv/bin/python tests/system/moves.py --seconds 120 --kills 60

Senders in processes of their own, and the manager, send numbered messages to a few agents, which
are moved all the time. A sender writes a number into its log after it was accepted; an agent writes
it into its own before its handler returns. In the end each agent must have every number that it was
sent, those of one sender in order; one that it has twice must have been marked as redelivered. The
state that moves with each agent must count the same numbers, where no worker was killed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec

import ultrafast as uf
from ultrafast.metric_names import Counter

__all__ = ["Report", "run"]

WORKERS = 3
AGENTS = 4
SENDER = """
import asyncio, os, random, sys
import ultrafast as uf

async def main(name, directory, sender, ids):
    chance = random.Random(sender)
    log = os.open(f"{directory}/sent-{sender}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    next_of = dict.fromkeys(ids, 1)
    async with uf.attach(name) as client:
        while not os.path.exists(f"{directory}/stop"):
            for _ in range(chance.randrange(1, 12)):
                if chance.random() < 0.5:
                    wanted = [chance.choice(ids)]
                    said = [client.bus.send_nowait(None, wanted[0], [sender, next_of[wanted[0]]])]
                else:
                    wanted = chance.sample(ids, 3)
                    items = [(each, [sender, next_of[each]]) for each in wanted]
                    said = client.bus.send_many_nowait(None, items)
                for receiver, accepted in zip(wanted, said):
                    if accepted:
                        os.write(log, b"%d %d\\n" % (receiver, next_of[receiver]))
                        next_of[receiver] += 1
            await asyncio.sleep(chance.choice((0.0, 0.001, 0.002)))

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), [int(i) for i in sys.argv[4:]]))
"""


class Ledger(uf.Agent):
    """Writes down what it gets, in its log and in what moves with it."""

    state_saved = 3600.0
    directory = ""
    log = -1

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        if isinstance(message.body, str):
            if message.body == "report":
                return dict(self.state)
            self.state["directory"] = message.body
            return None
        sender, number = message.body
        if self.log < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self.log = os.open(f"{self.state['directory']}/got-{self.id}", flags)
        os.write(self.log, b"%d %d %d\n" % (sender, number, message.redelivered))
        self.state[str(sender)] = self.state.get(str(sender), 0) + 1
        if number % 7 == 0:
            await asyncio.sleep(0)
        return None

    def __del__(self) -> None:
        if self.log >= 0:
            os.close(self.log)


class Cautious(Ledger):
    """The same, and saves its state at each message, which is what outlives a worker's death."""

    state_saved = "message"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did and found."""

    kills: int
    moves: int
    accepted: int
    handled: int
    redelivered: int
    dead_lettered: int
    faults: list[str]

    @property
    def passed(self) -> bool:
        """All came, in order, while agents moved."""
        return self.accepted > 0 and self.moves > 0 and not self.faults


async def run(seconds: float, kills: int, seed: int) -> Report:
    """Let agents move for a time; worker kills are spread over it."""
    chance = random.Random(seed)
    config = uf.Config(workers=WORKERS, max_concurrent_agents=1000)
    with tempfile.TemporaryDirectory() as directory:
        async with uf.UltraFastAgentManager(config) as m:
            patient = uf.Restart(intensity=10_000, backoff_s=0.001, backoff_max_s=0.01)
            m.register("ledger", Cautious if kills else Ledger, movable=True, restart=patient)
            ids = await m.spawn_agents("ledger", AGENTS)
            for each in ids:
                await m.request(None, each, directory)
            senders = [_sender(m.name, directory, number, ids) for number in (1, 2)]
            movers = [asyncio.ensure_future(_move(m, each, chance)) for each in ids]
            own = asyncio.ensure_future(_send(m, directory, ids))
            for _ in range(kills):
                await asyncio.sleep(seconds / (kills + 1))
                _kill(m, chance)
            await asyncio.sleep(seconds / (kills + 1))
            Path(directory, "stop").touch()
            for process in senders:
                assert await asyncio.to_thread(process.wait, 60) == 0
            await own
            for mover in movers:
                mover.cancel()
            await asyncio.gather(*movers, return_exceptions=True)
            sent = _logged(directory, "sent-")
            await _settled(directory, sum(map(len, sent.values())))
            states = {each: await m.request(None, each, "report", timeout_s=30.0) for each in ids}
            moves = m.metrics_counter(Counter.MOVED)
            letters = m.metrics_counter(Counter.DEAD_LETTERED)
        got = _logged(directory, "got-")
    return _judged(sent, got, states if not kills else {}, kills, moves, letters)


def _sender(name: str, directory: str, number: int, ids: list[int]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-c", SENDER, name, directory, str(number)]
    return subprocess.Popen([*command, *map(str, ids)])


async def _move(m: uf.UltraFastAgentManager, agent: int, chance: random.Random) -> None:
    while True:
        try:
            await m.move_agent(agent, worker=chance.randrange(WORKERS), timeout_s=2.0)
        except (TimeoutError, uf.errors.QueueFull):
            continue  # it was never idle, or the worker that has it was just killed
        await asyncio.sleep(chance.choice((0.0, 0.0, 0.005)))


async def _send(m: uf.UltraFastAgentManager, directory: str, ids: list[int]) -> None:
    """The manager sends, too."""
    numbers = dict.fromkeys(ids, 1)
    with open(f"{directory}/sent-0", "w", encoding="utf-8") as log:
        while not os.path.exists(f"{directory}/stop"):
            for each in ids:
                if m.bus.send_nowait(None, each, [0, numbers[each]], priority="high"):
                    log.write(f"{each} {numbers[each]}\n")
                    numbers[each] += 1
            await asyncio.sleep(0.001)


def _kill(m: uf.UltraFastAgentManager, chance: random.Random) -> None:
    ready = [worker.pid for worker in m.statistics().workers if worker.ready]
    if ready:
        os.kill(chance.choice(ready), signal.SIGKILL)


async def _settled(directory: str, accepted: int) -> None:
    """Until as many different numbers were handled as accepted, or a minute has passed."""
    for _ in range(600):
        handled = {
            (log, *line[:2]) for log, found in _logged(directory, "got-").items() for line in found
        }
        if len(handled) >= accepted:
            return
        await asyncio.sleep(0.1)


def _logged(directory: str, kind: str) -> dict[int, list[tuple[int, ...]]]:
    """Lines of numbers, by what follows the log's kind in its name."""
    return {
        int(path.name[len(kind) :]): [
            tuple(map(int, line.split())) for line in path.read_text().splitlines()
        ]
        for path in Path(directory).glob(f"{kind}*")
    }


def _judged(
    sent: dict[int, list[tuple[int, ...]]],
    got: dict[int, list[tuple[int, ...]]],
    states: dict[int, dict[str, Any]],
    kills: int,
    moves: int,
    letters: int,
) -> Report:
    faults = []
    wanted: dict[tuple[int, int], set[int]] = defaultdict(set)
    for sender, lines in sent.items():
        for agent, number in lines:
            wanted[agent, sender].add(number)
    handled = again = 0
    for agent, lines in got.items():
        last: dict[int, int] = defaultdict(int)
        for sender, number, redelivered in lines:
            handled += 1
            again += redelivered
            if number == last[sender] + 1:
                last[sender] = number
            elif number > last[sender] or not redelivered:
                faults.append(
                    f"agent {agent:#x} got {number} of sender {sender} after {last[sender]}"
                )
                last[sender] = max(number, last[sender])
            wanted[agent, sender].discard(number)
        for sender, count in last.items():
            if states and states[agent].get(str(sender)) != count:
                faults.append(f"agent {agent:#x}: its state has lost some of sender {sender}'s")
    for (agent, sender), left in wanted.items():
        if left:
            faults.append(f"agent {agent:#x} never got {sorted(left)[:5]} of sender {sender}")
    return Report(
        kills=kills,
        moves=moves,
        accepted=sum(map(len, sent.values())),
        handled=handled,
        redelivered=again,
        dead_lettered=letters,
        faults=faults[:20],
    )


def main() -> int:
    """Run the long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    report = asyncio.run(run(options.seconds, options.kills, options.seed))
    print(msgspec.json.format(msgspec.json.encode(report)).decode())
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
