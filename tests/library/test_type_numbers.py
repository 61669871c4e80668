"""A type's number, while another process is about to give it and does not come to it."""

from types import SimpleNamespace
from typing import Any

import pytest

import ultrafast as uf
from ultrafast.agents import registry
from ultrafast.agents.hosting.nursery import Nursery
from ultrafast.agents.registry import describe, number_of
from ultrafast.errors import Contended


class Plain(uf.Agent):
    """Of the type that is learned."""


class Contested:
    """Agent records whose types another process is naming at so many looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def type(self, name: str, make: bool) -> int:
        assert name == "plain" and make
        if self.looks:
            self.looks -= 1
            raise Contended("others changed the same words at every attempt")
        return 7


def test_a_worker_knows_a_type_that_another_process_was_naming() -> None:
    endpoint: Any = SimpleNamespace(agents=Contested(3), index=0)
    nursery = Nursery(endpoint, {})
    nursery.learn(describe("plain", Plain, mailbox_capacity=10))
    assert endpoint.agents.looks == 0
    assert nursery.empty(7).type == "plain"


def test_who_never_comes_to_it_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_NUMBER_S", 0.01)
    agents: Any = Contested(1_000_000)
    with pytest.raises(Contended):
        number_of(agents, "plain")
    assert agents.looks < 1_000_000
