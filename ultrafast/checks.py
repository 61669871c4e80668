"""How settings are checked, and how an error says what was wrong and what is allowed.

Stands on msgspec and the errors. Knows no setting by name: `ultrafast.config` does.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Mapping
from typing import Any

import msgspec

from ultrafast.errors import ConfigError

__all__ = [
    "KIB",
    "MIB",
    "GIB",
    "bytes_of",
    "check_affinity",
    "check_bool",
    "check_known",
    "check_persist",
    "check_ranges",
    "readable",
    "wrong",
]

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(B|KiB|MiB|GiB|TiB)\s*")
_UNITS = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": 1024 * GIB}


def check_ranges(
    settings: msgspec.Struct,
    prefix: str,
    ranges: Mapping[str, tuple[float, float]],
    sizes: Container[str] = (),
) -> None:
    """Refuse what is out of its range; a range whose low end is an int is for whole numbers only.

    Parameters
    ----------
    settings : Struct
    prefix : str
        What the error names a field with.
    ranges : mapping
        Field -> (lowest, highest).
    sizes : container of str
        Fields that may be text in a file, and only there.

    Raises
    ------
    ConfigError
    """
    for field in settings.__struct_fields__:
        if field not in ranges:
            continue
        low, high = ranges[field]
        value = getattr(settings, field)
        whole = isinstance(low, int)
        if type(value) is not int and (whole or type(value) is not float):
            kind = "a whole number" if whole else "a number"
            hint = " (text such as '128MiB' is for files)" if field in sizes else ""
            raise wrong(prefix + field, value, f"{kind}, {low:,} to {high:,}{hint}")
        if not low <= value <= high:
            raise wrong(prefix + field, value, f"{low:,} to {high:,}")


def check_bool(field: str, value: object) -> None:
    """Refuse what is neither True nor False."""
    if type(value) is not bool:
        raise wrong(field, value, "True or False")


def wrong(field: str, value: object, allowed: str) -> ConfigError:
    """The error for a value of a field."""
    return ConfigError(f"{field} is {value!r}; allowed is {allowed}")


def check_known(settings: Mapping[str, Any], kind: type[msgspec.Struct], prefix: str) -> None:
    """Refuse a field that this kind of settings does not have, with the nearest it has."""
    known = kind.__struct_fields__
    for field in settings:
        if field not in known:
            near = difflib.get_close_matches(str(field), known, n=1, cutoff=0.5)
            meant = f"did you mean {prefix}{near[0]}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"{prefix}{field} is no setting; {meant}")


def check_affinity(wanted: object) -> None:
    """Refuse what says nothing of the processors that workers may run on."""
    if isinstance(wanted, str) and wanted in ("none", "spread"):
        return
    if (
        not isinstance(wanted, list)
        or not wanted
        or not all(
            isinstance(cpus, list) and cpus and all(type(cpu) is int and cpu >= 0 for cpu in cpus)
            for cpus in wanted
        )
    ):
        raise wrong(
            "worker_affinity",
            wanted,
            "'none', 'spread', or a list of processors for each worker, as [[0, 1], [2, 3]]",
        )


def check_persist(persist: object, name: str | None, workers: int | None) -> None:
    """Refuse a system that is to outlive its manager and can't be found, or has nobody to live."""
    check_bool("persist", persist)
    if not persist:
        return
    if name is None:
        raise ConfigError(
            "persist is True and name is None; a name is what the next manager finds the system by"
        )
    if workers == 0:
        raise ConfigError(
            "persist is True and workers is 0; without workers the manager hosts the agents, and "
            "they die with it"
        )


def bytes_of(field: str, text: str) -> int:
    """The number that a size as text stands for: '128MiB'."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise wrong(
            field, text, f"a number of bytes, or text such as '128MiB' ({'/'.join(_UNITS)})"
        )
    return int(float(match[1]) * _UNITS[match[2]])


def readable(error: msgspec.ValidationError) -> str:
    """msgspec's message with the field first: 'workers: Expected `int`, got `str`'."""
    match = re.fullmatch(r"(.*?) - at `\$\.?(.*)`", str(error))
    return f"{match[2]}: {match[1]}" if match else str(error)
