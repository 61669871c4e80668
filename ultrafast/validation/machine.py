"""What a figure was measured on: `MachineFacts`. Stands on the standard library; reads /proc."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

__all__ = ["MachineFacts", "machine_facts"]

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
