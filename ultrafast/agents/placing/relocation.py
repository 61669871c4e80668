"""Having an agent move to another worker, from any process: the worker that has it is asked.

Stands on the agent records and the endpoint. What a move is, `agents.hosting.moving` says.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import CONTROL_LANE, Kind, Operation
from ultrafast.core._agents import ACTIVE, TAKING
from ultrafast.errors import AgentGone, InvalidArgument

__all__ = ["Answer", "ask_to_give_away", "relocate"]

_LOOK_S: Final = 0.001
_LONGEST_LOOK_S: Final = 0.016


class Answer(IntEnum):
    """What a worker says of an agent that it is to give away."""

    BEGUN = 0
    BUSY = 1
    NOT_MOVABLE = 2
    NOT_HERE = 3


async def ask_to_give_away(
    endpoint: Endpoint, worker: int, ids: Sequence[int], to: int, timeout_s: float
) -> list[Answer]:
    """Ask the host with a queue to give agents to another: what it says of each."""
    answer = await endpoint.ask(
        worker,
        CONTROL_LANE,
        array("Q", [*ids, to]),
        Kind.CONTROL,
        timeout_s=timeout_s,
        extra=int(Operation.MOVE),
    )
    found = [Answer(each) for each in answer.tobytes()]
    answer.release()
    return found


async def relocate(endpoint: Endpoint, agent_id: int, to: int, timeout_s: float) -> bool:
    """Have an agent live in the worker with a queue; see `Population.move_agent`."""
    agents = endpoint.agents
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout_s
    began, pause_s = False, _LOOK_S
    while True:
        info = agents.look(agent_id)
        if info is None or info.state not in TAKING:
            raise AgentGone(f"agent {agent_id:#x} can't be moved: it does not live")
        if info.state == ACTIVE and info.worker == to:
            return began
        left_s = until - loop.time()
        if left_s <= 0:
            raise TimeoutError(
                f"agent {agent_id:#x} was not "
                + ("there" if began else "idle, and did not begin to move,")
                + f" within {timeout_s:g} s"
            )
        if info.state == ACTIVE:
            said = (await ask_to_give_away(endpoint, info.worker, [agent_id], to, left_s))[0]
            if said == Answer.NOT_MOVABLE:
                raise InvalidArgument(
                    f"agent {agent_id:#x} is of type {agents.type_name(info.type)!r}, which was "
                    "not registered with movable=True"
                )
            if said == Answer.BEGUN:
                began = True
                continue
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_LOOK_S)
