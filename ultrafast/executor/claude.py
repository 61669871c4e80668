"""Claude behind the `Model` protocol: pooled connections, typed errors, counted usage.

The only module that imports `anthropic`, and only on first use, in a thread: the import takes
longer than everything else of ours together. Retries, backoff, streaming and the tool loop are the
SDK's. What is ours: deadlines over the whole call, one error class per cause, prices, counts.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from ultrafast.errors import (
    ModelAuthError,
    ModelError,
    ModelOverloaded,
    ModelRateLimited,
    TaskInvalid,
    TaskTimeout,
    UltrafastError,
)
from ultrafast.executor.model import Completion, ModelRequest
from ultrafast.executor.prices import PRICES, Price, cost_usd
from ultrafast.executor.tasks import Usage

if TYPE_CHECKING:
    import anthropic

__all__ = ["DEFAULT_MODEL", "ClaudeConnectionPool", "PoolStatistics"]

DEFAULT_MODEL = "claude-sonnet-5-5"

_CONNECT_S = 5.0
_KEEPALIVE_S = 30.0
# How the loopback server of `ultrafast.testing` signs its answers; it says so itself, so that no
# setting can make a loopback answer pass for a model's.
_LOOPBACK_ID = "msg_loopback_"
_RETRY_HEADER = "x-stainless-retry-count"
_LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")


class PoolStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the pool was made.

    Attributes
    ----------
    calls, completed, failed, in_flight : int
        Calls begun, answered, ended by an error, and under way. A cancelled call is none of the
        last three.
    attempts : int
        Requests sent, retries and turns included.
    usage : Usage
        Tokens of all answers.
    cost_usd, unpriced : float, int
        Sum over the answers whose model has a price, and how many from the API have none.
    errors : dict of str to int
        Failures by the name of their class.
    """

    calls: int
    completed: int
    failed: int
    in_flight: int
    attempts: int
    usage: Usage
    cost_usd: float
    unpriced: int
    errors: dict[str, int]


class ClaudeConnectionPool:
    """The Messages API over shared, kept-alive connections.

    Parameters
    ----------
    api_key : str, optional
        Otherwise the SDK looks for ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN and its profiles.
    base_url : str, optional
        Otherwise ANTHROPIC_BASE_URL, otherwise the public API.
    max_connections : int
        Connections at most; further calls wait for one.
    prices : mapping, optional
        USD per million tokens by model, in place of the built-in table.

    Notes
    -----
    Threads: one event loop, that of the first call. Waits: every call, at most its `timeout_s`.

    Examples
    --------
    >>> async with ClaudeConnectionPool() as pool:  # doctest: +SKIP
    ...     answer = await pool.complete(request)
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        max_connections: int = 20,
        prices: Mapping[str, Price] = PRICES,
    ) -> None:
        if max_connections < 1:
            raise ValueError(f"max_connections is {max_connections}; it must be at least 1")
        self._api_key = api_key
        self._base_url = base_url or os.environ.get("ANTHROPIC_BASE_URL") or None
        self._max_connections = max_connections
        self._prices = prices
        self._client: anthropic.AsyncAnthropic | None = None
        self._by_retries: dict[int, anthropic.AsyncAnthropic] = {}
        self._opening = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._calls = self._completed = self._in_flight = self._attempts = self._unpriced = 0
        self._usage = Usage()
        self._cost_usd = 0.0
        self._errors: Counter[str] = Counter()

    async def warm(self) -> None:
        """Load the SDK and make the client now, so that the first call need not.

        Raises
        ------
        ModelAuthError
            If no key is to be found.
        """
        await self._ready(max_retries=0)

    async def complete(self, request: ModelRequest) -> Completion:
        """Ask, and wait for the whole answer.

        Raises
        ------
        ModelAuthError, ModelRateLimited, ModelOverloaded, ModelError
            By cause, after the retries that `request.max_retries` allows.
        TaskInvalid
            The API refused the request as it stands.
        TaskTimeout
            `request.timeout_s` ran out.
        """
        with self._counting():
            async with _deadline(request, asyncio.get_running_loop().time() + request.timeout_s):
                client = await self._ready(request.max_retries)
                with _translating(request):
                    if request.tools:
                        answer = await self._with_tools(client, request)
                    else:
                        raw = await client.messages.with_raw_response.create(**_fields(request))
                        answer = self._whole(await raw.parse(), raw.retries_taken + 1, request)
            self._count(answer)
            return answer

    async def stream(self, request: ModelRequest) -> AsyncGenerator[str | Completion, None]:
        """Ask, and pass on the text as it comes; the last item is the `Completion`.

        Raises the same errors as `complete`, possibly after some text. A request with tools comes
        in one piece, because what the model says between tool calls is not the answer.
        """
        if request.tools:
            whole = await self.complete(request)
            yield whole.text
            yield whole
            return
        deadline = asyncio.get_running_loop().time() + request.timeout_s
        with self._counting():
            async with _deadline(request, deadline):
                client = await self._ready(request.max_retries)
            # Entered only now: it needs the SDK, which `_ready` loads in a thread.
            with _translating(request):
                async with _deadline(request, deadline):
                    stream = await client.messages.stream(**_fields(request)).__aenter__()
                try:
                    pieces = stream.text_stream
                    while True:
                        async with _deadline(request, deadline):
                            piece = await anext(pieces, None)
                        if piece is None:
                            break
                        yield piece
                    attempts = _attempts_of(stream.response.request)
                    answer = self._whole(stream.current_message_snapshot, attempts, request)
                finally:
                    await stream.close()
            self._count(answer)
            yield answer

    def statistics(self) -> PoolStatistics:
        """Counts so far."""
        return PoolStatistics(
            calls=self._calls,
            completed=self._completed,
            failed=sum(self._errors.values()),
            in_flight=self._in_flight,
            attempts=self._attempts,
            usage=self._usage,
            cost_usd=self._cost_usd,
            unpriced=self._unpriced,
            errors=dict(self._errors),
        )

    async def aclose(self) -> None:
        """Close the connections; a second call changes nothing."""
        self._closed = True
        client, self._client = self._client, None
        self._by_retries.clear()
        if client is not None:
            await client.close()

    async def __aenter__(self) -> ClaudeConnectionPool:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _ready(self, max_retries: int) -> anthropic.AsyncAnthropic:
        """The client that retries so often; copies share one connection pool."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise ModelError("this connection pool is closed; make a new one")
        if self._loop is not None and self._loop is not loop:
            raise ModelError(
                "this connection pool belongs to another event loop; make one for each"
            )
        self._loop = loop
        if self._client is None:
            async with self._opening:
                if self._client is None:
                    self._client = await asyncio.to_thread(self._open)
        client = self._by_retries.get(max_retries)
        if client is None:
            client = self._by_retries[max_retries] = self._client.with_options(
                max_retries=max_retries
            )
        return client

    def _open(self) -> anthropic.AsyncAnthropic:
        import anthropic

        limits = type(anthropic.DEFAULT_CONNECTION_LIMITS)(
            max_connections=self._max_connections,
            max_keepalive_connections=self._max_connections,
            keepalive_expiry=_KEEPALIVE_S,
        )
        http_options: dict[str, Any] = {"limits": limits}
        if urlsplit(self._base_url or "").hostname in _LOCAL_HOSTS:
            # A server on this machine is never reached through a proxy. The SDK's client looks for
            # proxies itself; these entries say "none" where it would put one.
            http_options["trust_env"] = False
            http_options["mounts"] = dict.fromkeys(("http://", "https://", "all://"))
        http_client = anthropic.DefaultAsyncHttpxClient(**http_options)
        try:
            client = anthropic.AsyncAnthropic(
                api_key=self._api_key, base_url=self._base_url, http_client=http_client
            )
        except anthropic.CredentialsError as error:
            raise ModelAuthError(f"the credentials for Claude can't be read: {error}") from error
        if client.api_key is None and client.auth_token is None and client.credentials is None:
            raise ModelAuthError(
                "no key for the Claude API: set ANTHROPIC_API_KEY or pass api_key=, "
                "or use ultrafast.testing.LoopbackServer to run without one"
            )
        _ = client.messages  # its modules are loaded on first use, so here and not in the loop
        return client

    async def _with_tools(
        self, client: anthropic.AsyncAnthropic, request: ModelRequest
    ) -> Completion:
        """The SDK's tool loop: ask, run the tools asked for, answer with their results."""
        messages, tools = await asyncio.to_thread(_load_tools, client, request)
        runner = messages.tool_runner(
            **_fields(request),
            tools=tools,
            max_iterations=request.max_turns,
            thread=False,  # the conversation is sent each turn and not held by the server
        )
        usage, cost, turns = Usage(), 0.0, 0
        answer: Completion | None = None
        async for message in runner:
            turns += 1
            answer = self._whole(message, 1, request)
            usage += answer.usage
            cost += answer.cost_usd or 0.0
        if answer is None:
            raise ModelError(f"{_target(request)}: no turn was made")
        priced = cost if answer.cost_usd is not None else None
        return msgspec.structs.replace(answer, usage=usage, cost_usd=priced, attempts=turns)

    def _whole(self, message: Any, attempts: int, request: ModelRequest) -> Completion:
        """Take what we need out of the SDK's message, which it does not check for presence."""
        content = getattr(message, "content", None)
        usage = getattr(message, "usage", None)
        if not isinstance(content, list) or usage is None or message.stop_reason is None:
            raise ModelError(
                f"{_target(request)}: the answer is incomplete, it ends before its stop reason "
                "and usage; try again",
                attempts=attempts,
            )
        spent = Usage(
            input_tokens=usage.input_tokens or 0,
            output_tokens=usage.output_tokens or 0,
            cache_read_tokens=usage.cache_read_input_tokens or 0,
            cache_write_tokens=usage.cache_creation_input_tokens or 0,
        )
        loopback = message.id.startswith(_LOOPBACK_ID)
        return Completion(
            text="".join(block.text for block in content if block.type == "text"),
            model=message.model,
            stop_reason=message.stop_reason,
            usage=spent,
            cost_usd=None if loopback else cost_usd(message.model, spent, self._prices),
            attempts=attempts,
            request_id=getattr(message, "_request_id", None),
            via="loopback" if loopback else "api",
        )

    @contextmanager
    def _counting(self) -> Iterator[None]:
        self._calls += 1
        self._in_flight += 1
        try:
            yield
        except UltrafastError as error:
            self._errors[type(error).__name__] += 1
            self._attempts += getattr(error, "attempts", 0)
            raise
        finally:
            self._in_flight -= 1

    def _count(self, answer: Completion) -> None:
        self._completed += 1
        self._attempts += answer.attempts
        self._usage += answer.usage
        self._cost_usd += answer.cost_usd or 0.0
        if answer.cost_usd is None and answer.via == "api":
            self._unpriced += 1


def _load_tools(client: anthropic.AsyncAnthropic, request: ModelRequest) -> tuple[Any, list[Any]]:
    import anthropic

    return client.beta.messages, [anthropic.beta_async_tool(tool) for tool in request.tools]


def _fields(request: ModelRequest) -> dict[str, Any]:
    """The request as keyword arguments of the SDK's calls."""
    import anthropic

    fields: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "messages": [{"role": turn.role, "content": turn.content} for turn in request.messages],
        "timeout": anthropic.Timeout(request.timeout_s, connect=min(_CONNECT_S, request.timeout_s)),
    }
    if request.system:
        fields["system"] = request.system
    if request.effort is not None:
        fields["output_config"] = {"effort": request.effort}
    return fields


def _target(request: ModelRequest) -> str:
    return f"request to {request.model}"


def _attempts_of(http_request: Any) -> int:
    if http_request is None:
        return 1
    retries = http_request.headers.get(_RETRY_HEADER, "0")
    return int(retries) + 1 if retries.isdecimal() else 1


@asynccontextmanager
async def _deadline(request: ModelRequest, at: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout_at(at):
            yield
    except TaskTimeout:
        raise
    except TimeoutError as error:
        raise TaskTimeout(
            f"{_target(request)}: no whole answer within {request.timeout_s:g} s; allow more with "
            "constraints.timeout_s, or ask for less with max_tokens or effort"
        ) from error


@contextmanager
def _translating(request: ModelRequest) -> Iterator[None]:
    """Turn the SDK's errors, and those it lets through, into ours."""
    import anthropic
    import httpx2  # what the SDK speaks HTTP with; a stream lets its errors through

    try:
        yield
    except anthropic.APIStatusError as error:
        raise _status_error(error, request) from error
    except anthropic.APITimeoutError as error:
        raise TaskTimeout(
            f"{_target(request)}: no answer within {request.timeout_s:g} s"
        ) from error
    except anthropic.APIConnectionError as error:
        attempts = _attempts_of(error.request)
        raise ModelError(
            f"{_target(request)}: the connection failed {attempts} time(s), lastly: "
            f"{error.__cause__ or error}; check the network and base_url {error.request.url}",
            attempts=attempts,
        ) from error
    except httpx2.TimeoutException as error:
        raise TaskTimeout(
            f"{_target(request)}: the answer stopped coming for {request.timeout_s:g} s"
        ) from error
    except httpx2.TransportError as error:
        raise ModelError(
            f"{_target(request)}: the connection broke in the middle of the answer: {error}"
        ) from error
    except (json.JSONDecodeError, anthropic.APIResponseValidationError) as error:
        raise ModelError(
            f"{_target(request)}: the answer is not what the Messages API sends: {error}; "
            "check that base_url names such an API"
        ) from error
    except anthropic.CredentialsError as error:
        raise ModelAuthError(f"the credentials for Claude can't be read: {error}") from error


def _status_error(error: anthropic.APIStatusError, request: ModelRequest) -> UltrafastError:
    """Which of our errors an error answer stands for.

    The type in the body counts before the status: an error in the middle of a stream comes with
    the status 200 that the stream began with.
    """
    kind = error.type or ""
    status = error.status_code
    attempts = _attempts_of(error.response.request)
    said = error.api_message or error.message
    start = f"{_target(request)}: {status} {kind or 'error'} after {attempts} attempt(s): {said}"
    known: dict[str, Any] = {
        "status": status,
        "request_id": error.request_id,
        "attempts": attempts,
    }
    if kind == "rate_limit_error" or status == 429:
        after = error.response.headers.get("retry-after", "")
        seconds = float(after) if after.replace(".", "", 1).isdecimal() else None
        wait = f"wait {seconds:g} s" if seconds is not None else "wait, or check the spend limit"
        return ModelRateLimited(
            f"{start}; {wait}, or lower the concurrency", retry_after_s=seconds, **known
        )
    if kind == "overloaded_error" or status in (503, 529):
        return ModelOverloaded(f"{start}; try again later", **known)
    if status in (401, 402, 403):
        advice = "check the billing" if status == 402 else "check the key and what it may do"
        return ModelAuthError(f"{start}; {advice}", **known)
    if status in (400, 404, 413, 422):
        return TaskInvalid(f"{start}; change the task, its constraints or the model")
    return ModelError(f"{start}; the fault is not in the request, try again", **known)
