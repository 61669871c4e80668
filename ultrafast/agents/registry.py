"""Agent types on their way from the process that registered them to the workers.

A class travels over the pipe between a manager and the workers it started, never through shared
memory: by name where the worker can import it, otherwise by value (classes of a script or a
notebook), which is what cloudpickle is for. Stands on cloudpickle, and on the agent records, where
each type has a number.
"""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any, Final, Literal

import cloudpickle  # type: ignore[import-untyped]  # it ships no types
import msgspec

from ultrafast.agents.agent import Agent
from ultrafast.agents.restarts import Restart
from ultrafast.core import Agents
from ultrafast.errors import Contended, InvalidArgument, WorkerFailed

__all__ = [
    "AgentType",
    "Delivery",
    "check_type",
    "describe",
    "load",
    "number_of",
    "redelivery_limit",
]

Delivery = Literal["at-least-once", "at-most-once"]

_REDELIVERIES_MAX: Final = 200
# Whoever gives a type its number is at it for nanoseconds, unless it is kept from running, or was
# killed and is not mended yet.
_NUMBER_S: Final = 2.0
_LOOK_S: Final = 0.001


class AgentType(msgspec.Struct, frozen=True, kw_only=True):
    """A registered type, as it is told to a worker.

    Attributes
    ----------
    name : str
    how : {"name", "value"}
        Whether `data` is "module:qualified name" or a pickled class.
    data : bytes
    mailbox_capacity : int
        Messages that may wait for one agent of the type.
    max_redeliveries : int, optional
        How often a message may come again after its worker's death; the Config's when None.
    restart : Restart
        What is done when one of its agents failed.
    concurrency : int
        Messages that one agent handles at a time.
    max_agents : int, optional
        Agents of the type alive at a time.
    movable : bool
        Whether an idle agent may be given to another worker.
    """

    name: str
    how: Literal["name", "value"]
    data: bytes
    mailbox_capacity: int
    max_redeliveries: int | None = None
    restart: Restart = Restart()
    concurrency: int = 1
    max_agents: int | None = None
    movable: bool = False


def redelivery_limit(delivery: Delivery, max_redeliveries: int | None) -> int | None:
    """How often a message may come again, from what `register` was given.

    Raises
    ------
    InvalidArgument
        An unknown delivery, a number out of range, or redeliveries of what is delivered once.
    """
    if delivery not in ("at-least-once", "at-most-once"):
        raise InvalidArgument(
            f"delivery is {delivery!r}; allowed is 'at-least-once' or 'at-most-once'"
        )
    if max_redeliveries is not None and not 0 <= max_redeliveries <= _REDELIVERIES_MAX:
        raise InvalidArgument(
            f"max_redeliveries is {max_redeliveries}; allowed is 0 to {_REDELIVERIES_MAX}"
        )
    if delivery == "at-least-once":
        return max_redeliveries
    if max_redeliveries:
        raise InvalidArgument(
            f"max_redeliveries is {max_redeliveries} and delivery 'at-most-once', which has none"
        )
    return 0


def check_type(name: str, cls: Any) -> None:
    """Refuse what can't be an agent type, with the reason."""
    if not (isinstance(cls, type) and issubclass(cls, Agent)):
        raise TypeError(f"agent type {name!r} must be a subclass of ultrafast.Agent, not {cls!r}")
    if not (0 < len(name.encode()) < 56 and name.isprintable()):
        raise ValueError(f"agent type name {name!r} must be 1 to 55 bytes of printable text")


def describe(
    name: str, cls: type[Agent], *, by_value: bool = False, mailbox_capacity: int, **options: Any
) -> AgentType:
    """How to tell a worker about a class.

    Parameters
    ----------
    by_value : bool
        Pickle it even if it has a name: the worker could not import it.
    mailbox_capacity, options
        Fields of `AgentType`.

    Raises
    ------
    InvalidArgument
        One of them is out of range.
    """
    for option, low in {"concurrency": 1, "max_agents": 0}.items():
        number = options.get(option)
        if number is not None and not low <= number <= 1_000_000:
            raise InvalidArgument(f"{option} is {number}; allowed is {low} to 1,000,000")
    module, qualname = cls.__module__, cls.__qualname__
    if not by_value and module != "__main__" and _find(sys.modules.get(module), qualname) is cls:
        how, data = "name", f"{module}:{qualname}".encode()
    else:
        how, data = "value", _pickled(name, cls)
    return AgentType(
        name=name,
        how=how,  # type: ignore[arg-type]  # one of the two
        data=data,
        mailbox_capacity=mailbox_capacity,
        **options,
    )


def load(kind: AgentType) -> type[Agent]:
    """The class, in a worker.

    Raises
    ------
    WorkerFailed
        It can't be imported or unpickled here, or is no agent.
    """
    try:
        if kind.how == "value":
            cls = cloudpickle.loads(kind.data)
        else:
            module, _, qualname = kind.data.decode().partition(":")
            cls = _find(importlib.import_module(module), qualname)
        check_type(kind.name, cls)
    except Exception as error:
        raise WorkerFailed(
            f"agent type {kind.name!r} can't be loaded in a worker: {type(error).__name__}: {error}"
        ) from error
    assert isinstance(cls, type)
    return cls


def _find(module: Any, qualname: str) -> Any:
    found = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def _pickled(name: str, cls: type[Agent]) -> bytes:
    module = sys.modules.get(cls.__module__)
    # cloudpickle pickles classes of __main__ by value; those of any other module only when told.
    told = module is not None and cls.__module__ != "__main__"
    if told:
        cloudpickle.register_pickle_by_value(module)
    try:
        data = cloudpickle.dumps(cls)
    except Exception as error:
        raise WorkerFailed(
            f"agent type {name!r} can't be sent to workers ({type(error).__name__}: {error}); "
            "define it in a module that workers can import"
        ) from error
    finally:
        if told:
            cloudpickle.unregister_pickle_by_value(module)
    assert isinstance(data, bytes)
    return data


def number_of(agents: Agents, name: str) -> int:
    """The number of a type in the region, given on first use.

    Raises
    ------
    Contended
        Another process has been about to give a number for two seconds; it may be stopped.
    """
    until = time.monotonic() + _NUMBER_S
    while True:
        try:
            number = agents.type(name, True)
        except Contended:
            if time.monotonic() > until:
                raise
            time.sleep(_LOOK_S)
        else:
            assert number is not None
            return number
