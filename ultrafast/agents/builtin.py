"""The five built-in agent types: coder, researcher, analyst, tester, reviewer.

Each asks the model with its own system prompt (`ultrafast.executor.profiles`). A message with an
`objective` is a task in short form; anything else is answered with what the agent is.
"""

from __future__ import annotations

from typing import Any

from ultrafast.agents.agent import Agent, IncomingMessage
from ultrafast.executor.profiles import BUILTIN_PROFILES
from ultrafast.executor.tasks import Task

__all__ = ["BUILTIN_TYPES", "ProfiledAgent"]


class ProfiledAgent(Agent):
    """An agent whose work is a model's answer under its profile."""

    async def on_message(self, message: IncomingMessage) -> Any:
        """Execute `{"objective": ...}` and answer with its text; describe yourself otherwise."""
        body = message.body
        if isinstance(body, dict) and isinstance(body.get("objective"), str):
            task = Task(id=f"message-{message.id:x}", objective=body["objective"], type=self.type)
            return (await self.execute(task)).text
        return {"type": self.type, "id": self.id}


def _builtin(name: str) -> type[ProfiledAgent]:
    attributes = {"profile": BUILTIN_PROFILES[name], "__module__": __name__}
    return type(name.capitalize(), (ProfiledAgent,), attributes)


BUILTIN_TYPES: dict[str, type[ProfiledAgent]] = {name: _builtin(name) for name in BUILTIN_PROFILES}
