"""Who answers a job's tasks: the Messages API where there is a key, the loopback server otherwise.

Stands on `ultrafast.testing` and the environment. Says which it is; asks nothing itself.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Literal, TypeAlias

import msgspec

from ultrafast.testing import LoopbackServer

__all__ = ["ModelSource", "SourceName", "open_source", "source_name"]

SourceName: TypeAlias = Literal["api", "loopback"]

_KEY = "ANTHROPIC_API_KEY"
_BASE_URL = "ANTHROPIC_BASE_URL"
_PUBLIC_API = "https://api.anthropic.com"


class ModelSource(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers.

    Parameters
    ----------
    name : {"api", "loopback"}
    endpoint : str
        Where.
    api_key : str
        What it is asked with; never written anywhere.
    """

    name: SourceName
    endpoint: str
    api_key: str

    @property
    def sentence(self) -> str:
        """For people."""
        if self.name == "api":
            return f"model: the Messages API at {self.endpoint} ({_KEY} is set)"
        return (
            f"model: none. {_KEY} is not set, so the loopback server at {self.endpoint} answers, "
            "with text made from the request"
        )

    def __repr__(self) -> str:
        """Without the key."""
        return f"ModelSource(name={self.name!r}, endpoint={self.endpoint!r})"


def source_name(environment: Mapping[str, str] = os.environ) -> SourceName:
    """Who will answer, by whether there is a key."""
    return "api" if environment.get(_KEY, "").strip() else "loopback"


@asynccontextmanager
async def open_source(
    base_url: str | None = None, environment: Mapping[str, str] = os.environ
) -> AsyncIterator[ModelSource]:
    """Who answers, for as long as the block lasts; starts the loopback server where it is needed.

    Parameters
    ----------
    base_url : str, optional
        Where the API is, before the environment's ANTHROPIC_BASE_URL.
    environment : mapping
        Where the key is looked for.

    Yields
    ------
    ModelSource

    Raises
    ------
    ModelError
        If the loopback server can't be started.
    """
    if source_name(environment) == "api":
        endpoint = base_url or environment.get(_BASE_URL, "").strip() or _PUBLIC_API
        yield ModelSource(name="api", endpoint=endpoint, api_key=environment[_KEY].strip())
        return
    async with LoopbackServer() as server:
        yield ModelSource(name="loopback", endpoint=server.base_url, api_key="loopback")
