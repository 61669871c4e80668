"""`State`: what an agent keeps in the shared store, and gets back after a restart.

Stands on the table and the codec. When it is saved, an agent's class says; see `Agent.state_saved`.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, Final

from ultrafast import codec
from ultrafast.core import Table
from ultrafast.core._status import OK
from ultrafast.core._table import ANY, FIRST_CODEC_TAG
from ultrafast.errors import StoreFull

__all__ = ["State", "forget_state", "save_after_messages"]

# Of agents with a name: kept after their end, and in snapshots. Of others: not in snapshots, for
# an id says nothing in another region.
_NAMED: Final = "ultrafast.state"
_UNNAMED: Final = "ultrafast.bus"


class State(dict[str, Any]):
    """A dict that is kept in the store.

    Parameters
    ----------
    table : Table
    agent_id : int
    name : str
        Of the agent; "" for none.

    Notes
    -----
    What is kept must be of what messages are made of. A value that is changed in place is saved as
    well: what is compared is what would be written.
    """

    __slots__ = ("_key", "_seen", "_space", "_table")

    def __init__(self, table: Table, agent_id: int, name: str) -> None:
        self._table = table
        self._space, self._key = _place(agent_id, name)
        self._seen = b""
        kept = table.get(self._space, self._key)
        super().__init__(kept if isinstance(kept, dict) else {})
        if self:
            self._seen = bytes(codec.encode(dict(self))[0])

    def save(self) -> bool:
        """Write it if it has changed: whether it had.

        Raises
        ------
        StoreFull
            There is no room; what was kept last is still there.
        EncodeError, ValueTooBig
            It holds what can't be kept, or too much of it.
        """
        data, number = codec.encode(dict(self))
        whole = bytes(data)
        if whole == self._seen or (not self and not self._seen):
            return False
        tag = FIRST_CODEC_TAG + number
        status, _ = self._table.set_encoded(self._space, self._key, whole, tag, 0, ANY, 0)
        if status != OK:
            raise StoreFull(
                f"no room in the store for the state of {self._key!r}, {len(whole):,} bytes"
            )
        self._seen = whole
        return True


def forget_state(table: Table, agent_id: int, name: str) -> None:
    """Delete what an agent kept."""
    table.delete(*_place(agent_id, name))


def save_after_messages(agent: Any) -> None:
    """Have an agent's handlers save its state before their message is given back."""
    for hook in ("on_message", "execute"):
        setattr(agent, hook, _saving(agent, getattr(agent, hook)))


def _saving(agent: Any, handler: Any) -> Any:
    @functools.wraps(handler)
    def handle(given: Any) -> Any:
        outcome = handler(given)
        if inspect.isawaitable(outcome):
            return _saved(agent, outcome)
        agent.state.save()
        return outcome

    return handle


async def _saved(agent: Any, awaiting: Any) -> Any:
    outcome = await awaiting
    agent.state.save()
    return outcome


def _place(agent_id: int, name: str) -> tuple[str, str]:
    return (_NAMED, name) if name else (_UNNAMED, f"state-{agent_id:x}")
