"""Half of what a system can carry, for ten minutes, while senders and workers are killed.

The short form runs in the suite (`test_soak.py`); the long one is this file:

    .venv/bin/python tests/system/soak.py --minutes 10

First it measures how much goes through: sending processes and sending agents, to agents in three
workers, over a named queue with acknowledgement and over a queue group. Then half of that is sent
at a steady rate, whatever becomes of it, while a process dies every few seconds. In the end every
accepted message was delivered or is a dead letter; none came twice but with the mark of a
redelivery, none overtook another of its sender, receiver and priority; and memory, blocks, queues,
entries and descriptors have not grown. The table says how much was seen; the exit status is 1 when
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

from system.soaking.run import Report, Settings, run
from system.soaking.trend import table


def show(report: Report) -> str:
    """The table."""
    book = report.account
    lines = [
        ("saturation, messages/s", f"{report.saturation:,.0f}"),
        ("in the run, messages/s", f"{report.rate:,.0f}"),
        ("of saturation", f"{report.rate / report.saturation:.0%}"),
        ("latency p50, p95, ms", f"{report.p50_ms}, {report.p95_ms}"),
        *((f"killed: {name}", f"{count:,}") for name, count in report.kills.items()),
        ("refused, the sender was told", f"{report.refused:,}"),
        ("accepted", f"{book.accepted:,}"),
        ("delivered", f"{book.delivered:,}"),
        *((f"    {name}", f"{count:,}") for name, count in book.by_way.items()),
        ("    marked as redelivered", f"{book.redelivered:,}"),
        ("    more than once, so marked", f"{book.twice:,}"),
        ("    of killed senders' last round", f"{book.unknown:,}"),
        ("    publications refused by others", f"{book.partly:,}"),
        *((f"dead letters: {name}", f"{count:,}") for name, count in book.dead.items()),
        ("streams in order", f"{book.streams:,}"),
        ("    messages in them", f"{book.ordered:,}"),
    ]
    text = [f"{name:42} {value:>16}" for name, value in lines]
    return "\n".join([*text, *table(report.trends)])


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=10.0)
    length.add_argument("--seconds", type=float, help="instead of minutes")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument(
        "--leak",
        action="append",
        default=[],
        choices=["memory", "blocks", "entries"],
        help="seed a fault, which has to be found",
    )
    parser.add_argument(
        "--every", type=float, nargs=2, default=(1.0, 5.0), help="seconds from death to death"
    )
    parser.add_argument("--keep", help="an empty folder, for the logs of a run to be looked into")
    options = parser.parse_args()
    seconds = options.minutes * 60 if options.seconds is None else options.seconds
    print(f"seed {options.seed}", flush=True)
    settings = Settings(
        seconds=seconds,
        seed=options.seed,
        saturation_s=min(15.0, max(2.0, seconds / 10)),
        kill_every_s=tuple(options.every),
        leaks=tuple(options.leak),
        keep=options.keep,
    )
    report = asyncio.run(run(settings))
    print(show(report))
    for violation in report.violations:
        print(f"VIOLATION: {violation}")
    print("passed" if report.passed else "FAILED")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
