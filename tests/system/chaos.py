"""Ten thousand agents for fifteen minutes, while workers are killed and agents come and go.

The short form runs in the suite (`test_chaos.py`); the long one is this file:

    .venv/bin/python tests/system/chaos.py --minutes 15 --agents 10000

Messages come from outside and from agent to agent; a worker is killed every few seconds; agents are
moved between workers, spawned, asked and stopped all the while; some fail by themselves, and some
are not to be restarted. In the end every accepted message was handled or is a dead letter, none was
handled twice but with the mark of a redelivery, every agent lives or has ended as its policy says,
and memory, blocks, queues, entries and descriptors have not grown. The exit status is 1 when
anything of this does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from pathlib import Path

__all__ = ["main"]

if __name__ == "__main__":
    # Its parts are imported by the workers too, by the names that the suite gives them.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from system.raging.run import Report, Settings, run
from system.soaking.trend import table


def show(report: Report) -> str:
    """The table."""
    book, back = report.account, report.back_s
    lines = [
        ("agents", f"{report.settings.agents:,}"),
        ("workers killed", f"{report.kills:,}"),
        ("agents that came", f"{report.spawned:,}"),
        ("    and were stopped", f"{report.terminated:,}"),
        ("    and ended with their worker", f"{report.ended:,}"),
        ("agents moved between workers", f"{report.moved:,}"),
        ("refused, the sender was told", f"{report.refused:,}"),
        ("accepted", f"{book.accepted:,}"),
        ("handled", f"{book.delivered:,}"),
        ("    marked as redelivered", f"{book.redelivered:,}"),
        ("    more than once, so marked", f"{book.twice:,}"),
        ("    of killed senders' last moment", f"{book.in_doubt:,}"),
        ("dead letters", f"{book.dead:,}"),
    ]
    if back:
        middle, high = back[len(back) // 2], back[len(back) * 95 // 100]
        lines.append(
            (
                "20 of a killed worker answer, p50 p95 max, s",
                f"{middle:.2f} {high:.2f} {back[-1]:.2f}",
            )
        )
    text = [f"{name:44} {value:>16}" for name, value in lines]
    return "\n".join([*text, *table(report.trends)])


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=15.0)
    length.add_argument("--seconds", type=float, help="instead of minutes")
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument(
        "--rate", type=float, default=1_000.0, help="messages a second from outside"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument(
        "--every", type=float, nargs=2, default=(2.0, 6.0), help="seconds from death to death"
    )
    parser.add_argument(
        "--forgets", action="store_true", help="seed a fault, which has to be found"
    )
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    settings = Settings(
        seconds=options.minutes * 60 if options.seconds is None else options.seconds,
        seed=options.seed,
        agents=options.agents,
        workers=options.workers,
        rate=options.rate,
        kill_every_s=tuple(options.every),
        forgets=options.forgets,
    )
    report = asyncio.run(run(settings))
    print(show(report))
    for violation in report.violations:
        print(f"VIOLATION: {violation}")
    print("passed" if report.passed else "FAILED")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
