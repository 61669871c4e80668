"""Small regions, and other processes to use them. Stands on the doors and on subprocess."""

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ultrafast.core import Sizes

__all__ = ["SMALL", "Child", "child", "eventually"]

SMALL = Sizes(
    owners=8,
    buckets=64,
    extensions=16,
    queues=4,
    queue_capacity=16,
    agents=64,
    types=4,
    warm=16,
    shards=2,
    settings_bytes=64,
    message_blocks=((128, 64), (1024, 16), (8192, 8)),
    value_blocks=((192, 128), (1024, 32), (8192, 8)),
)

PATIENCE_S = 30.0


def eventually(holds: Callable[[], object]) -> None:
    """Wait until it holds; a watchdog, not a measurement."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.002)


class Child:
    """Another process that runs a program and speaks by lines."""

    def __init__(self, program: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", textwrap.dedent(program), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(PATIENCE_S)
            assert self.process.stderr is not None
            raise AssertionError(f"the child ended: {self.process.stderr.read()}")
        return line.strip()

    def tell(self, line: str) -> None:
        """Give it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL it."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def end(self) -> str:
        """Wait for a normal end without complaints; what it printed last."""
        out, complaints = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, complaints
        assert complaints == "", complaints
        return out.strip()


@contextmanager
def child(program: str, *arguments: Path | str | int) -> Iterator[Child]:
    """A `Child` that does not outlive the block."""
    started = Child(program, *arguments)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.kill()
        for stream in (started.process.stdin, started.process.stdout, started.process.stderr):
            if stream is not None and not stream.closed:
                stream.close()
