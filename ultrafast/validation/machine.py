"""What a figure was measured on: `MachineFacts`, and what else ran meanwhile: `CpuShares`.

Stands on the standard library; reads /proc.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

__all__ = ["CpuShares", "MachineFacts", "machine_facts"]

_LIBRARIES = ("ultrafast", "anthropic", "msgspec", "numpy", "uvloop")


class MachineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A machine, as far as it bears on figures.

    Parameters
    ----------
    cpus : int
        Cores this process may use.
    cpu_model, kernel, python : str
    memory_bytes : int
    versions : dict of str to str
        Of the libraries that matter here; those not installed are missing.
    load_1m : float
        The machine's load when asked: what else was running.
    """

    cpus: int
    cpu_model: str
    kernel: str
    python: str
    memory_bytes: int
    versions: dict[str, str]
    load_1m: float


def machine_facts() -> MachineFacts:
    """The facts of this machine.

    Examples
    --------
    >>> machine_facts().cpus > 0
    True
    """
    return MachineFacts(
        cpus=len(os.sched_getaffinity(0)),
        cpu_model=_cpu_model(),
        kernel=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        versions=_versions(),
        load_1m=os.getloadavg()[0],
    )


class CpuShares:
    """Who used the machine's cores since this was made.

    Parameters
    ----------
    pids : callable
        Gives the process ids of the system that is measured.
    """

    def __init__(self, pids: Callable[[], list[int]]) -> None:
        self._pids = pids
        self._total, self._busy = _machine_ticks()
        self._ours = {pid: _process_ticks(pid) for pid in pids()}

    def others_percent(self) -> tuple[float | None, int]:
        """Share of all cores' time that went to other programs, and the clock ticks it stands on.

        Time that a hypervisor gave to somebody else counts as theirs.
        """
        total, busy = _machine_ticks()
        ours = sum(_process_ticks(pid) - self._ours.get(pid, 0) for pid in self._pids())
        passed = total - self._total
        if passed <= 0:
            return None, 0
        return 100.0 * max(0, busy - self._busy - max(0, ours)) / passed, passed


def _machine_ticks() -> tuple[int, int]:
    """Ticks of all cores so far: all, and those that were not idle."""
    with open("/proc/stat", "rb") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return sum(ticks), sum(ticks) - ticks[3] - ticks[4]


def _process_ticks(pid: int) -> int:
    """Ticks that a process has used; none when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def _cpu_model() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return platform.processor() or "unknown"


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
