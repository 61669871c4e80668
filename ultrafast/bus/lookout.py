"""`Lookout`: whether a loop whose inbox ran empty should look again for a moment before it sleeps.

Stands on nothing. It learns from how soon messages came after the inbox was empty, and reads no
clock; looking and sleeping are the endpoint's.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Lookout"]

# Of the latest wait in what is expected of the next one.
_WEIGHT: Final = 0.25
# A long sleep says no more than that it was too long.
_LONGEST: Final = 8


class Lookout:
    """Looking pays when the next message is expected within the budget.

    Parameters
    ----------
    budget_ns : int
        How long to look at most; 0 for never.

    Attributes
    ----------
    until_ns : int
        When to stop looking.
    expected_ns : float
        How long the inbox stays empty, by the last times that it was.
    """

    def __init__(self, budget_ns: int) -> None:
        self.until_ns = 0
        self.expected_ns = 0.0
        self._budget_ns = budget_ns
        self._empty_ns: int | None = None

    def ran_empty(self, now_ns: int) -> bool:
        """The inbox is empty: whether to look until `until_ns`."""
        if not self._budget_ns:
            return False
        self._empty_ns = now_ns
        self.until_ns = now_ns + self._budget_ns
        return self.expected_ns <= self._budget_ns

    def filled(self, now_ns: int) -> None:
        """There is something again."""
        if self._empty_ns is not None:
            waited = min(now_ns - self._empty_ns, self._budget_ns * _LONGEST)
            self.expected_ns += (waited - self.expected_ns) * _WEIGHT
            self._empty_ns = None
