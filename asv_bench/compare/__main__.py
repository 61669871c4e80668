"""`python -m compare SUBJECT`: run one comparison, print its table, perhaps write it as JSON."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec

from .options import Options
from .report import show

__all__ = ["main"]

SUBJECTS = ("agents", "messaging", "store")
"""Packages beside this file; each has NAMES, OURS, SCENARIO_KEYS and `run(options) -> Report`."""


def main(arguments: list[str] | None = None) -> int:
    """Run. 0 when everybody who took part got through."""
    subjects = {name: importlib.import_module(f"compare.{name}") for name in SUBJECTS}
    parser = argparse.ArgumentParser(prog="tools/compare", description=__doc__)
    commands = parser.add_subparsers(dest="subject", required=True)
    for name, subject in subjects.items():
        command = commands.add_parser(name, description=subject.__doc__)
        command.add_argument("--quick", action="store_true", help="in seconds; no measurement")
        command.add_argument("--rounds", type=_positive, default=0, help="that count")
        command.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
        command.add_argument(
            "--only",
            action="append",
            default=[],
            choices=subject.NAMES,
            help="beside ultrafast; may be repeated",
        )
        command.add_argument(
            "--scenario",
            action="append",
            default=[],
            choices=subject.SCENARIO_KEYS,
            help="may be repeated",
        )
        command.add_argument(
            "--not-installed", action="append", default=[], metavar="NAME=WHY", help="say so"
        )
    given = parser.parse_args(arguments)
    subject = subjects[given.subject]
    signal.signal(signal.SIGTERM, _end)  # so that what was begun is ended in order
    report = subject.run(
        Options(
            quick=given.quick,
            rounds=given.rounds,
            only=tuple(given.only),
            scenarios=tuple(given.scenario),
            why_missing=dict(each.split("=", 1) for each in given.not_installed),
        )
    )
    show(report, subject.OURS)
    if given.json is not None:
        given.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    return 0 if report.ok else 1


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} rounds make no figure; ask for at least 1")
    return number


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
