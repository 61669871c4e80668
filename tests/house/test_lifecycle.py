"""The table of an agent's life in the documents is the one that the records hold."""

import re

from house.tree import read
from ultrafast.agents.agent import Agent
from ultrafast.core._agents import ACTIVE, MOVES, MOVING, STATES

PAGE = "docs/explanation/lifecycle.md"


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose first column is called so."""
    table = read(PAGE).split(f"| {heading} |")[1].split("\n\n")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_moves_are_those_of_the_core() -> None:
    documented = {
        (STATES.index(state.strip("`")), STATES.index(to))
        for state, _, moves, _ in rows("state")
        for to in re.findall(r"`(\w+)`", moves)
    }
    assert documented == MOVES | {(ACTIVE, MOVING)}  # by `Agents.leave`, which alone leads there


def test_every_state_has_its_row() -> None:
    assert [row[0].strip("`") for row in rows("state")] == list(STATES)


def test_the_hooks_are_those_of_an_agent() -> None:
    named = {name for row in rows("hook") for name in re.findall(r"`(\w+)`", row[0])}
    hooks = {name for name in vars(Agent) if name.startswith("on_")} | {"execute"}
    assert named == hooks
