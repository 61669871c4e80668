"""Ray: an actor is a process."""

from __future__ import annotations

from typing import ClassVar

from .stage import Contestant, Stage, installed, why_missing

__all__ = ["RayActors"]


class RayActors(Contestant):
    """Ray's actors, on a cluster of this machine alone."""

    name = "ray"
    how = (
        "actors without a share of a core (num_cpus=0), each a process; .remote and ray.get; 200"
        " at once, 50 in a crowd, 30 one after the other"
    )
    does = frozenset(
        {
            "spawn",
            "spawn-to-answer-across",
            "population",
            "round-trip-across",
            "counting-across",
            "crowd",
        }
    )
    most: ClassVar[dict[str, int]] = {
        "spawn": 30,
        "spawn-to-answer-across": 30,
        "population": 200,
        "crowd": 50,
    }

    @classmethod
    def missing(cls) -> str | None:
        return why_missing("ray")

    @classmethod
    def version(cls) -> str:
        return installed("ray")

    @staticmethod
    def open(agents: int) -> Stage:
        from .ray_stage import RayStage  # needs ray

        return RayStage()
