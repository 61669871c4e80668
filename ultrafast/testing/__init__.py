"""For tests of programs that use this library, and for running without an API key.

`LoopbackServer` is a Messages API on this machine in a process of its own, `Fault` tells it how to
misbehave, `ScriptedModel` answers in process. Nothing here asks a model.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ultrafast.testing.faults import Fault
    from ultrafast.testing.loopback import LoopbackServer
    from ultrafast.testing.scripted import ScriptedModel

__all__ = ["Fault", "LoopbackServer", "ScriptedModel"]

# Found on first use: the server's process runs one of these modules as its main program, and must
# not find it imported already.
_HOMES = {"Fault": "faults", "LoopbackServer": "loopback", "ScriptedModel": "scripted"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
