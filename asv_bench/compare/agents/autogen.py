"""autogen-core: an agent is an object that its runtime makes at the first message for its id."""

from __future__ import annotations

from .stage import Contestant, Stage, installed, why_missing

__all__ = ["AutogenCore"]


class AutogenCore(Contestant):
    """autogen-core's `SingleThreadedAgentRuntime`."""

    name = "autogen-core"
    how = (
        "RoutedAgents of a SingleThreadedAgentRuntime on one uvloop; begun by their first message;"
        " send_message to ask, publish_message to a topic to count"
    )
    does = frozenset(
        {
            "spawn-to-answer",
            "spawn-to-answer-cold",
            "population",
            "round-trip",
            "counting",
            "crowd",
        }
    )

    @classmethod
    def missing(cls) -> str | None:
        return why_missing("autogen_core")

    @classmethod
    def version(cls) -> str:
        return installed("autogen-core")

    @staticmethod
    def open(agents: int) -> Stage:
        from .autogen_stage import AutogenStage  # needs autogen-core

        return AutogenStage()
