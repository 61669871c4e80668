"""Who takes part in a comparison, and its report: what all subjects share.

Stands on the options and the report. Measures nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Generic, Protocol, TypeVar

from ultrafast.validation.machine import machine_facts

from .options import Options
from .report import Block, Report, Verdict, load_now

__all__ = ["Contest", "Rival"]


class Rival(Protocol):
    """What every subject's contestants tell of themselves; their classes are never made."""

    name: ClassVar[str]
    how: ClassVar[str]
    ours: ClassVar[bool]

    @classmethod
    def missing(cls) -> str | None:
        """Why it can't take part, or None."""

    @classmethod
    def version(cls) -> str:
        """Of what it stands on."""


R = TypeVar("R", bound=Rival)


class Contest(Generic[R]):
    """One run of one subject.

    Parameters
    ----------
    subject : str
    contestants : sequence of classes
        All there are, in the table's order.
    options : Options
        `only` keeps those names, and ultrafast's own.

    Attributes
    ----------
    present : list of classes
        Those that take part.
    missing : dict of str to str
        Why each of the others can't.
    """

    def __init__(self, subject: str, contestants: Sequence[type[R]], options: Options) -> None:
        self._subject = subject
        self._options = options
        self._machine = machine_facts()  # before the run: it tells of the load
        self.present: list[type[R]] = []
        self.missing: dict[str, str] = {}
        for each in contestants:
            if options.only and each.name not in options.only and not each.ours:
                continue
            reason = each.missing()
            if reason is None:
                self.present.append(each)
            else:
                self.missing[each.name] = options.why_missing.get(each.name, reason)

    def report(self, blocks: list[Block], verdicts: Sequence[Verdict] = ()) -> Report:
        """Everything that was found."""
        self._options.say("")
        return Report(
            subject=self._subject,
            machine=self._machine,
            load_after_1m=load_now(),
            quick=self._options.quick,
            contestants={each.name: each.how for each in self.present},
            versions={each.name: each.version() for each in self.present},
            missing=self.missing,
            blocks=blocks,
            verdicts=list(verdicts),
        )
