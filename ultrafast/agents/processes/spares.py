"""Worker processes started: at once, or ahead of need by `Spares`.

A spare has its interpreter and its modules and waits on its pipe to be told who it is; until then
it has no place in the region. Stands on processes, the control pipe and pidfds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from ultrafast.agents.processes.control import Pipe, Prepare
from ultrafast.agents.processes.handles import WorkerProcess
from ultrafast.agents.registry import AgentType

__all__ = ["Spares", "Started", "keep_from_children", "start_process"]

log = logging.getLogger(__name__)

# A spare is started when all is well and has been since the last look: not beside the start of a
# system, nor beside a takeover.
_LOOK_S: Final = 1.0
_END_S: Final = 10.0

# Manager's ends of pipes: a forked child must not keep them open, or workers would not notice that
# the manager is gone.
_pipes: weakref.WeakSet[Pipe] = weakref.WeakSet()


def _close_pipes() -> None:
    for pipe in list(_pipes):
        pipe.close()


os.register_at_fork(after_in_child=_close_pipes)


def keep_from_children(pipe: Pipe) -> None:
    """Have forked children let go of a manager's end of a pipe."""
    _pipes.add(pipe)


class Started(NamedTuple):
    """A worker's process, and our end of its pipe."""

    pipe: Pipe
    process: WorkerProcess

    def end(self) -> None:
        """Kill it and let go of it. For one that has no place in the region."""
        self.process.kill()
        self.process.wait(_END_S)
        self.process.close()
        self.pipe.close()


def start_process(environment: Mapping[str, str], *, apart: bool = False) -> Started:
    """Start a worker's process; it waits to be told who it is.

    Parameters
    ----------
    environment : mapping
    apart : bool
        In a session of its own: what ends the manager's, a terminal's hang-up, does not reach it.

    Raises
    ------
    OSError
        The operating system refused.
    """
    ours, theirs = socket.socketpair()
    process = None
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ultrafast.agents.processes.worker", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=environment,
            start_new_session=apart,
        )
        pidfd = os.pidfd_open(process.pid)
    except OSError:
        ours.close()
        if process is not None:
            process.kill()
            process.wait()
        raise
    finally:
        theirs.close()
    pipe = Pipe(ours)
    keep_from_children(pipe)
    return Started(pipe, WorkerProcess(process.pid, pidfd, process))


class Spares:
    """Worker processes kept ready to take the place of one that dies.

    Parameters
    ----------
    count : int
        How many to keep.
    environment : mapping
        Of the processes.
    types : dict
        Registered agent types by name; their modules are imported ahead.
    apart : bool
        As `start_process` has it.
    """

    def __init__(
        self,
        count: int,
        environment: Mapping[str, str],
        types: Mapping[str, AgentType],
        *,
        apart: bool = False,
    ) -> None:
        self._apart = apart
        self._count = count
        self._environment = environment
        self._types = types
        self._waiting: list[Started] = []

    def take(self) -> Started:
        """A process to make a worker of: a spare that lives, or else one started now.

        Raises
        ------
        OSError
            The operating system refused to start one.
        """
        self._bury()
        if self._waiting:
            return self._waiting.pop(0)
        return start_process(self._environment, apart=self._apart)

    def pids(self) -> list[int]:
        """Process ids of those that wait."""
        return [each.process.pid for each in self._waiting]

    async def keep(self, all_well: Callable[[], bool]) -> None:
        """Have them be as many as they are to be, for ever; one is started when all is well."""
        while self._count:
            await asyncio.sleep(_LOOK_S)
            self._bury()
            if len(self._waiting) < self._count and all_well():
                self._start()

    def stop(self) -> None:
        """End those that wait. May be called twice."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.end()

    def _start(self) -> None:
        try:
            spare = start_process(self._environment, apart=self._apart)
        except OSError as error:
            log.warning("no spare worker could be started: %s; trying again", error)
            return
        by_name = [kind for kind in self._types.values() if kind.how == "name"]
        spare.pipe.send(Prepare(sys_path=list(sys.path), types=by_name))
        self._waiting.append(spare)

    def _bury(self) -> None:
        for each in [each for each in self._waiting if each.process.has_ended()]:
            log.warning("spare worker %d ended: %s", each.process.pid, each.process.cause())
            self._waiting.remove(each)
            each.end()
