"""`Restart`: what is done about an agent that failed, as its type says.

Stands on msgspec. Restarts nobody: `Lodging` does.
"""

from __future__ import annotations

import random
from typing import Literal

import msgspec

from ultrafast.errors import InvalidArgument

__all__ = ["Restart", "RestartWhen", "restart_of"]

RestartWhen = Literal["on-failure", "always", "never"]


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """When and how often agents of a type are restarted.

    An agent fails when its worker dies, when `on_start` raises, when one of its links fails, and,
    with `on_error="fail"`, when a handler raises.

    Attributes
    ----------
    when : {"on-failure", "always", "never"}
        on-failure: after it failed. always: also after it ended itself. never: its end is final; an
        agent whose worker died before `on_start` had ended is begun again all the same.
        Whoever terminates an agent ends it for good, and a first start that fails is not repeated.
    intensity : int
        So many restarts within a period are tried; with one more the agent has failed for good.
        That its worker died does not count once `on_start` has ended well.
    period_s : float
        The period; it begins with the first of its restarts.
    backoff_s, backoff_max_s : float
        Before the second restart of a period it waits for about `backoff_s`, then each time for
        twice as long, up to `backoff_max_s`; each wait is drawn from its half to the whole of it.
    on_error : {"continue", "fail"}
        What an exception in a handler means: the message failed, or the agent did.
    escalate : bool
        Whether the agent that spawned it fails when it has failed for good.
    """

    when: RestartWhen = "on-failure"
    intensity: int = 5
    period_s: float = 30.0
    backoff_s: float = 0.1
    backoff_max_s: float = 5.0
    on_error: Literal["continue", "fail"] = "continue"
    escalate: bool = False

    def wait_s(self, count: int) -> float:
        """How long to wait before the count-th restart of a period."""
        if count < 2:
            return 0.0
        whole = min(self.backoff_s * 2.0 ** min(count - 2, 64), self.backoff_max_s)
        return whole * random.uniform(0.5, 1.0)


def restart_of(given: Restart | str | None) -> Restart:
    """A policy, from what `register` was given: one, the name of its `when`, or nothing.

    Raises
    ------
    InvalidArgument
        It is none, or a number in it is out of range.
    """
    policy = Restart(when=given) if isinstance(given, str) else given  # type: ignore[arg-type]  # checked below
    policy = Restart() if policy is None else policy
    if not isinstance(policy, Restart) or policy.when not in ("on-failure", "always", "never"):
        raise InvalidArgument(
            f"restart is {given!r}; allowed is 'on-failure', 'always', 'never' or a Restart"
        )
    if policy.on_error not in ("continue", "fail"):
        raise InvalidArgument(
            f"Restart.on_error is {policy.on_error!r}; allowed is 'continue' or 'fail'"
        )
    lowest = {"intensity": 0, "period_s": 0.001, "backoff_s": 0, "backoff_max_s": 0}
    for name, low in lowest.items():
        value = getattr(policy, name)
        if not low <= value <= 1_000_000:
            raise InvalidArgument(f"Restart.{name} is {value}; allowed is {low:g} to 1,000,000")
    return policy
