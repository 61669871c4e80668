"""Erlang: an agent is a process of its virtual machine. Runs `actors.escript`, beside this file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import IO

from .stage import (
    CHATS_PER_S,
    Contestant,
    Crowd,
    Population,
    Stage,
    chatters_of,
    pss_bytes,
)

__all__ = ["Erlang"]

_SCRIPT = Path(__file__).with_name("actors.escript")


class _EscriptStage(Stage):
    """An escript that answers a line of words with a line of numbers."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["escript", str(_SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._ask("ready")  # it compiles itself first

    def _ask(self, *words: object) -> list[int]:
        process = self._process
        _pipe(process.stdin).write(" ".join(map(str, words)) + "\n")
        _pipe(process.stdin).flush()
        line = _pipe(process.stdout).readline()
        if not line:
            raise RuntimeError(f"escript ended with exit status {process.wait(10)}")
        return [int(word) for word in line.split()]

    def spawn(self, agents: int) -> list[int]:
        return self._ask("spawn", agents)

    def spawn_to_answer(self, agents: int, across: bool, warm: bool) -> list[int]:
        return self._ask("answer", agents)

    def population(self, agents: int) -> Population:
        before = pss_bytes()
        alive, returned, answered = self._ask("population", agents)
        found = Population(
            alive=alive,
            returned_ns=returned,
            answered_ns=answered,
            before_bytes=before,
            held_bytes=pss_bytes(),
        )
        self._ask("disperse")
        return found

    def trips(self, turn_s: float, across: bool, busy: bool) -> list[int]:
        return self._ask("trips", int(turn_s * 1e9))

    def count(self, messages: int, across: bool) -> int:
        return self._ask("count", messages)[0]

    def crowd(self, agents: int, turn_s: float) -> Crowd:
        pause_ms = 1000 // CHATS_PER_S
        turn_ns = int(turn_s * 1e9)
        alive, chats, idle_count, *times = self._ask(
            "crowd", agents, chatters_of(agents), pause_ms, turn_ns
        )
        return Crowd(
            alive=alive, idle_ns=times[:idle_count], chatter_ns=times[idle_count:], chats=chats
        )

    def close(self) -> None:
        _pipe(self._process.stdin).close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


class Erlang(Contestant):
    """The language made of actors, on all cores."""

    name = "erlang"
    how = "spawn, ! and receive; a scheduler for each core; compiled before it is timed"
    does = frozenset(
        {
            "spawn",
            "spawn-to-answer",
            "spawn-to-answer-cold",
            "population",
            "population-large",
            "population-million",
            "round-trip",
            "counting",
            "crowd",
        }
    )

    @classmethod
    def missing(cls) -> str | None:
        if shutil.which("escript") is None:
            return "no escript on PATH; install Erlang/OTP (on Debian 'apt install erlang-base')"
        return None

    @classmethod
    def version(cls) -> str:
        done = subprocess.run(
            ["erl", "-noshell", "-eval", "io:put_chars(erlang:system_info(otp_release)), halt()."],
            capture_output=True,
            text=True,
            timeout=60,
        )
        return f"Erlang/OTP {done.stdout.strip()}"

    @staticmethod
    def open(agents: int) -> Stage:
        return _EscriptStage()
