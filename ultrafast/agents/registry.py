"""Agent types on their way from the process that registered them to the workers.

A class travels over the pipe between a manager and the workers it started, never through shared
memory: by name where the worker can import it, otherwise by value (classes of a script or a
notebook), which is what cloudpickle is for. Stands on cloudpickle.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Literal

import cloudpickle  # type: ignore[import-untyped]  # it ships no types
import msgspec

from ultrafast.agents.agent import Agent
from ultrafast.errors import WorkerFailed

__all__ = ["AgentType", "check_type", "describe", "load"]


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
    """

    name: str
    how: Literal["name", "value"]
    data: bytes
    mailbox_capacity: int


def check_type(name: str, cls: Any) -> None:
    """Refuse what can't be an agent type, with the reason."""
    if not (isinstance(cls, type) and issubclass(cls, Agent)):
        raise TypeError(f"agent type {name!r} must be a subclass of ultrafast.Agent, not {cls!r}")
    if not (0 < len(name.encode()) < 56 and name.isprintable()):
        raise ValueError(f"agent type name {name!r} must be 1 to 55 bytes of printable text")


def describe(
    name: str, cls: type[Agent], *, mailbox_capacity: int, by_value: bool = False
) -> AgentType:
    """How to tell a worker about a class.

    Parameters
    ----------
    by_value : bool
        Pickle it even if it has a name: the worker could not import it.
    """
    module, qualname = cls.__module__, cls.__qualname__
    if not by_value and module != "__main__" and _find(sys.modules.get(module), qualname) is cls:
        return AgentType(
            name=name,
            how="name",
            data=f"{module}:{qualname}".encode(),
            mailbox_capacity=mailbox_capacity,
        )
    return AgentType(
        name=name, how="value", data=_pickled(name, cls), mailbox_capacity=mailbox_capacity
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
