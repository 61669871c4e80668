"""What is to be done and what came of it: `Task`, `Constraints`, `Result`, `Usage`.

Stands on msgspec and `ultrafast.errors`. These are plain values: they hold no client, start nothing
and are checked when they are made, so a task that exists is a task that can be tried.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from ultrafast.errors import TaskInvalid

__all__ = ["Constraints", "Effort", "Result", "Task", "Usage", "decode_task"]

Effort = Literal["low", "medium", "high", "xhigh", "max"]

_MAX_ID = 200
_MAX_RETRIES = 10
# Taken away by API version 2026-10-21: a request that carries one is refused, at any value.
_SAMPLING = ("temperature", "top_p", "top_k")


class Constraints(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a task may use.

    Parameters
    ----------
    max_tokens : int
        Upper bound of the answer, thinking included.
    timeout_s : float
        Time for the whole task: waiting for a free slot, every attempt, every tool.
    model : str, optional
        Model to use in place of the profile's or the executor's.
    effort : {"low", "medium", "high", "xhigh", "max"}, optional
        How much the model should think; the model's own default when not given. The Messages API
        has no sampling parameters (temperature and its like) any more; this took their place.
    max_retries : int
        Further attempts after a rate limit, an overload or a lost connection, 0 to 10.
    max_turns : int
        Requests at most when the profile has tools: each round of tool results is one more.
    cache : bool
        Whether a stored answer to the identical request may be used, and this one stored.
    """

    max_tokens: int = 1024
    timeout_s: float = 60.0
    model: str | None = None
    effort: Effort | None = None
    max_retries: int = 2
    max_turns: int = 8
    cache: bool = True

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise TaskInvalid(f"max_tokens is {self.max_tokens}; it must be at least 1")
        if not (math.isfinite(self.timeout_s) and self.timeout_s > 0):
            raise TaskInvalid(f"timeout_s is {self.timeout_s}; it must be a positive number")
        if self.model is not None and not self.model.strip():
            raise TaskInvalid("model is empty; leave it out to use the profile's")
        if not 0 <= self.max_retries <= _MAX_RETRIES:
            raise TaskInvalid(f"max_retries is {self.max_retries}; it must be 0 to {_MAX_RETRIES}")
        if self.max_turns < 1:
            raise TaskInvalid(f"max_turns is {self.max_turns}; it must be at least 1")


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One piece of work for one agent.

    Parameters
    ----------
    id : str
        Name of the task, unique among the tasks that know each other; 1 to 200 characters.
    objective : str
        What is to be done, in plain words.
    type : str
        Type of the agent that should do it.
    constraints : Constraints
        What it may use.
    after : tuple of str
        Ids of tasks whose results this one needs. Whoever schedules tasks reads it; the executor
        only reads `context`.
    context : dict of str to str
        Results of earlier tasks, by task id; they are put before the objective.
    metadata : dict
        Anything the caller wants to find again; never sent to the model.
    """

    id: str
    objective: str
    type: str = "coder"
    constraints: Constraints = msgspec.field(default_factory=Constraints)
    after: tuple[str, ...] = ()
    context: dict[str, str] = msgspec.field(default_factory=dict)
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id.strip() or len(self.id) > _MAX_ID or not self.id.isprintable():
            raise TaskInvalid(f"id {self.id[:40]!r} must be 1 to {_MAX_ID} printable characters")
        if not self.objective.strip():
            raise TaskInvalid(f"task {self.id!r} has an empty objective; say what is to be done")
        if not self.type.strip():
            raise TaskInvalid(f"task {self.id!r} has an empty type; name an agent type")
        if self.id in self.after:
            raise TaskInvalid(f"task {self.id!r} comes after itself; take it out of `after`")


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens as the API counted them; `+` adds two.

    Parameters
    ----------
    input_tokens, output_tokens : int
        Of the request beyond what its cache held, and of the answer, thinking included.
    cache_read_tokens, cache_write_tokens : int
        Of the request, read from and written to the API's own prompt cache.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
        )


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What came of a task.

    Parameters
    ----------
    task_id, status
        Which task, and whether it has an answer (`ok`) or a reason why not (`failed`).
    text, model, stop_reason
        The answer, the model that gave it, and why it stopped there.
    usage : Usage
        Tokens spent on this result. Zero for a cached one: nothing was spent again.
    cost_usd : float, optional
        What `usage` costs by the price list; None where no price is known or nothing was charged
        (the loopback server charges nothing).
    duration_s : float
        From the call to the result, waiting included.
    cached, shared : bool
        The answer came from the cache; or from an identical request already under way.
    attempts : int
        Requests made to the API, retries included; 0 for a cached or shared answer.
    error, error_type : str, optional
        For a failed task: the sentence, and the class of the error.
    agent : str, optional
        The agent that did it, where one did.
    via : str
        Where the answer came from: `api`, `loopback` (the testing server), `scripted`, or "" when
        no answer came.
    """

    task_id: str
    status: Literal["ok", "failed"]
    text: str = ""
    model: str = ""
    stop_reason: str | None = None
    usage: Usage = msgspec.field(default_factory=Usage)
    cost_usd: float | None = None
    duration_s: float = 0.0
    cached: bool = False
    shared: bool = False
    attempts: int = 0
    error: str | None = None
    error_type: str | None = None
    agent: str | None = None
    via: str = ""

    @property
    def ok(self) -> bool:
        """Whether the task has an answer."""
        return self.status == "ok"


_task_decoder = msgspec.json.Decoder(Task)


def decode_task(data: bytes | str | dict[str, Any], *, where: str = "task") -> Task:
    """Read one task, strictly: unknown fields and wrong types are refused.

    Parameters
    ----------
    data : bytes, str or dict
        One JSON object, or the object already decoded.
    where : str
        What to call it in an error, such as "tasks.jsonl line 7".

    Returns
    -------
    Task

    Raises
    ------
    TaskInvalid
        With `where`, what is wrong, and the path to it.

    Examples
    --------
    >>> decode_task('{"id": "t1", "objective": "Write a haiku"}').type
    'coder'
    >>> decode_task('{"id": "t1", "objective": "x", "constraints": {"max_tokens": "9"}}')
    Traceback (most recent call last):
        ...
    ultrafast.errors.TaskInvalid: task: Expected `int`, got `str` - at `$.constraints.max_tokens`
    """
    try:
        if isinstance(data, dict):
            return msgspec.convert(data, Task)
        return _task_decoder.decode(data)
    except (msgspec.MsgspecError, TaskInvalid) as error:
        hint = ""
        if any(f"`{name}`" in str(error) for name in _SAMPLING):
            hint = "; the Messages API takes no sampling parameters, use constraints.effort"
        raise TaskInvalid(f"{where}: {error}{hint}") from error
    except UnicodeDecodeError as error:
        raise TaskInvalid(f"{where}: not UTF-8: {error.reason} at byte {error.start}") from error
