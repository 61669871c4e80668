"""The scenarios by name. Each is a module with `async def run(settings) -> Report`; one line here.

Stands on importlib: a scenario is imported when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import Protocol, cast

import msgspec

from ultrafast import Config
from ultrafast.errors import InvalidArgument
from ultrafast.validation.figures import Report

__all__ = ["SCENARIOS", "Scenario", "ScenarioSettings", "find_scenario"]

SCENARIOS: dict[str, str] = {
    "baseline-performance": "ultrafast.validation.baseline",
}
"""Name of a scenario -> its module, whose docstring's first line says what it is."""


class ScenarioSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a scenario is run with.

    Parameters
    ----------
    config : Config
        Of the system; a scenario makes room in it for the agents it needs.
    agents : int
        Alive while it measures.
    duration_s : float
        Of the measurement of communication on an idle system; others follow from it.
    rate : float
        Paced messages a second.
    """

    config: Config
    agents: int = 100
    duration_s: float = 10.0
    rate: float = 1000.0

    def __post_init__(self) -> None:
        if self.agents < 2:
            raise InvalidArgument(f"agents is {self.agents}; a scenario needs at least 2")
        if not 0 < self.duration_s <= 86_400:
            raise InvalidArgument(f"duration_s is {self.duration_s}; it must be 0 to 86,400")
        if not 0 < self.rate <= 1_000_000:
            raise InvalidArgument(f"rate is {self.rate}; it must be 0 to 1,000,000 messages/s")


class Scenario(Protocol):
    """A scenario's module."""

    async def run(self, settings: ScenarioSettings) -> Report:
        """Start a system, measure it, end it."""
        ...


def find_scenario(name: str) -> Scenario:
    """The module of a scenario.

    Raises
    ------
    InvalidArgument
        If there is none of this name; the message names those there are.
    """
    if name not in SCENARIOS:
        known = ", ".join(sorted(SCENARIOS))
        raise InvalidArgument(f"there is no scenario {name!r}; there are {known}")
    return cast(Scenario, importlib.import_module(SCENARIOS[name]))
