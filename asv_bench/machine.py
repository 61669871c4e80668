"""Print where figures are taken: machine, kernel, compiler, versions, and how busy it is already.

Run by `tools/bench` before anything is timed. Reads what the system says of itself and guesses
nothing: what can't be read is "not said".
"""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_NOT_SAID = "not said"
_PACKAGES = ("ultrafast", "cython", "msgspec", "numpy", "uvloop", "asv")


def first_line(path: str) -> str:
    """The first line of a file of the system's."""
    try:
        return Path(path).read_text().partition("\n")[0].strip()
    except OSError:
        return _NOT_SAID


def processor() -> str:
    """Model, cores that we may use, and whether a hypervisor shows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    said = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    kind = "virtual" if "hypervisor" in said.get("flags", "").split() else "bare, as far as it says"
    model = said.get("model name", platform.machine())
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {kind}"


def compiler() -> str:
    """The compiler that builds the project here."""
    command = os.environ.get("CC", "cc")
    try:
        run = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return _NOT_SAID
    return run.stdout.partition("\n")[0]


def package(name: str) -> str:
    """A package and its version."""
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"


def main() -> None:
    """Print a line for each."""
    system = "/sys/devices/system"
    shm = os.statvfs("/dev/shm")
    for name, value in {
        "machine": processor(),
        "frequency": first_line(f"{system}/cpu/cpu0/cpufreq/scaling_governor"),
        "clock": first_line(f"{system}/clocksource/clocksource0/current_clocksource"),
        "kernel": f"{platform.system()} {platform.release()}",
        "libc": " ".join(platform.libc_ver()),
        "compiler": compiler(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(map(package, _PACKAGES)),
        "/dev/shm": f"{shm.f_blocks * shm.f_frsize >> 20} MiB",
        "load": "{:.1f}, {:.1f}, {:.1f} over 1, 5, 15 minutes, before".format(*os.getloadavg()),
    }.items():
        print(f"{name:<10} {value}")


if __name__ == "__main__":
    main()
