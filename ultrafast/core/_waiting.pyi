from collections.abc import Iterable

SPIN_US: int
SPIN_US_MAX: int

def learned(spin_us: float | None, waits_ns: Iterable[int]) -> list[int]: ...
