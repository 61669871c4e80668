"""How the loopback server is told to misbehave: one `Fault` per answer that is not ordinary.

A fault reaches the server in one of three ways: a script posted to it (`LoopbackServer.script`),
the header `x-loopback-fault`, or a model named `loopback-` and the fault's word. Words are
`status-429`, `status-429-after-0.5`, `slow-2.5`, `cut`, `invalid-json`, `truncated`.
Stands on msgspec; knows nothing of HTTP.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

__all__ = ["HEADER", "MODEL_PREFIX", "Fault", "parse_fault"]

HEADER = "x-loopback-fault"
MODEL_PREFIX = "loopback-"

_STATUS = re.compile(r"status-(\d{3})(?:-after-(\d+(?:\.\d+)?))?")
_SLOW = re.compile(r"slow-(\d+(?:\.\d+)?)")


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An answer out of the ordinary, and for which requests.

    Parameters
    ----------
    kind : str
        `status` answers an error of that HTTP status; `slow` waits, then answers as usual; `cut`
        closes the connection in the middle of the answer; `invalid_json` answers something that
        is not JSON; `truncated` leaves out the end of the message, over an intact connection;
        `text` answers the given text; `tool_use` asks for a tool.
    status : int
        For `status`: 401, 429, 500, 529 or any other error.
    retry_after_s : float, optional
        For `status`: sent as the header `retry-after`.
    delay_s : float
        Seconds to wait before the answer, whatever its kind.
    times : int
        How many requests it meets before it is used up.
    model, contains : str, optional
        Only requests for this model; only requests with this in a message.
    text : str
        For `text`: the answer, after the loopback mark.
    tool, input : str, dict
        For `tool_use`: the tool to ask for and its input.
    """

    kind: Literal["status", "slow", "cut", "invalid_json", "truncated", "text", "tool_use"]
    status: int = 500
    retry_after_s: float | None = None
    delay_s: float = 0.0
    times: int = 1
    model: str | None = None
    contains: str | None = None
    text: str = ""
    tool: str = ""
    input: dict[str, Any] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise ValueError(f"status is {self.status}; a fault's status is 400 to 599")
        if self.times < 1:
            raise ValueError(f"times is {self.times}; it must be at least 1")
        if self.delay_s < 0:
            raise ValueError(f"delay_s is {self.delay_s}; it can't be negative")
        if self.kind == "tool_use" and not self.tool:
            raise ValueError("a tool_use fault names its tool")


def parse_fault(word: str) -> Fault | None:
    """The fault a word stands for, or None when it is no such word.

    Parameters
    ----------
    word : str
        One of those that the module lists.

    Returns
    -------
    Fault or None

    Examples
    --------
    >>> parse_fault("status-529").status
    529
    >>> parse_fault("claude-sonnet-5-5") is None
    True
    """
    if word in ("cut", "truncated"):
        return Fault(kind="cut" if word == "cut" else "truncated")
    if word == "invalid-json":
        return Fault(kind="invalid_json")
    if (match := _SLOW.fullmatch(word)) is not None:
        return Fault(kind="slow", delay_s=float(match[1]))
    if (match := _STATUS.fullmatch(word)) is not None and 400 <= int(match[1]) <= 599:
        after = float(match[2]) if match[2] else None
        return Fault(kind="status", status=int(match[1]), retry_after_s=after)
    return None
