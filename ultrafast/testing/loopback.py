"""A Messages API on this machine, for running without a key: a process of its own, and its handle.

`python -m ultrafast.testing.loopback --port 0` serves and prints one line of JSON with its URL.
`LoopbackServer` starts and stops such a process. The answers are text made from the request, they
begin with `[loopback]`, and their message ids with `msg_loopback_`; the usage figures are estimates
(a quarter of the characters), not a tokenizer's count. No model is behind it.

Stands on uvicorn, starlette and msgspec, imported only in the serving process.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from ultrafast.errors import ModelError
from ultrafast.testing.faults import Fault
from ultrafast.testing.wire import RequestRecord, ServerStatistics

__all__ = ["LoopbackServer", "main"]

_HOST = "127.0.0.1"
_MODULE = "ultrafast.testing.loopback"
_PARENT_CHECK_S = 0.5
_STOP_S = 5.0

_T = TypeVar("_T")


class LoopbackServer:
    """A loopback Messages API server in a process of its own, for as long as a block lasts.

    Works as `with` and as `async with`. The process ends with the block, and within about a
    second of this process's death, however it died.

    Parameters
    ----------
    port : int
        0 picks a free one.
    start_timeout_s : float
        How long the process may take to listen.

    Notes
    -----
    Threads: any, one at a time. Waits: starting, stopping and each question are short blocking
    calls to the other process; `async with` starts and stops it in a thread.

    Examples
    --------
    >>> with LoopbackServer() as server:  # doctest: +SKIP
    ...     pool = ClaudeConnectionPool(base_url=server.base_url, api_key="loopback")
    """

    def __init__(self, port: int = 0, *, start_timeout_s: float = 30.0) -> None:
        self._port = port
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._base_url = ""

    @property
    def base_url(self) -> str:
        """Where it listens, for `ClaudeConnectionPool` or ANTHROPIC_BASE_URL."""
        if self._process is None:
            raise RuntimeError("the loopback server is not running; enter it with `with` first")
        return self._base_url

    @property
    def pid(self) -> int:
        """Process id of the server."""
        if self._process is None:
            raise RuntimeError("the loopback server is not running; enter it with `with` first")
        return self._process.pid

    def start(self) -> LoopbackServer:
        """Start the process and wait until it listens. A second call changes nothing.

        Raises
        ------
        ModelError
            If it ended or did not listen in time; with what it wrote to stderr.
        """
        if self._process is not None:
            return self
        # Its stderr is a file: a pipe that nobody reads would fill up and stop it.
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                # -P: the package this process uses, not one that lies in the current directory.
                [sys.executable, "-P", "-m", _MODULE, "--port", str(self._port), "--with-parent"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                # A Ctrl-C in the terminal is the parent's to handle; it stops us when it is done.
                process_group=0,
            )
            line = self._first_line(process)
            try:
                self._base_url = str(msgspec.json.decode(line)["url"])
            except (msgspec.MsgspecError, KeyError, TypeError) as error:
                process.kill()
                process.communicate()
                complaints.seek(0)
                said = complaints.read().decode(errors="replace")[-2000:]
                raise ModelError(
                    f"the loopback server did not listen within {self._start_timeout_s:g} s "
                    f"(exit status {process.returncode}): {said}"
                ) from error
        self._process = process
        return self

    def _first_line(self, process: subprocess.Popen[bytes]) -> bytes:
        """What it printed up to a newline, its end, or the time allowed."""
        assert process.stdout is not None
        end = time.monotonic() + self._start_timeout_s
        line = b""
        while not line.endswith(b"\n") and (left := end - time.monotonic()) > 0:
            if select.select([process.stdout], [], [], left)[0]:
                piece = os.read(process.stdout.fileno(), 4096)
                if not piece:
                    break
                line += piece
        return line

    def stop(self) -> None:
        """End the process; a second call changes nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def statistics(self) -> ServerStatistics:
        """Counts of requests, by status, and how many were in flight at most."""
        return self._ask("GET", "/loopback/statistics", ServerStatistics)

    def requests(self) -> list[RequestRecord]:
        """The last 1000 requests, oldest first."""
        return self._ask("GET", "/loopback/requests", list[RequestRecord])

    def script(self, *faults: Fault) -> None:
        """Answer coming requests with these faults, in order; each meets `times` requests."""
        self._ask("POST", "/loopback/script", dict[str, Any], msgspec.json.encode(faults))

    def reset(self) -> None:
        """Forget counts, requests and the script."""
        self._ask("POST", "/loopback/reset", dict[str, Any])

    def _ask(self, method: str, path: str, kind: type[_T], body: bytes = b"") -> _T:
        host, _, port = self.base_url.removeprefix("http://").rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            data = response.read()
        except OSError as error:
            raise ModelError(f"the loopback server at {self.base_url} is gone: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise ModelError(f"{path}: {data.decode(errors='replace')}", status=response.status)
        return msgspec.json.decode(data, type=kind)

    def __enter__(self) -> LoopbackServer:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> LoopbackServer:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)


async def _serve(listener: socket.socket, with_parent: bool) -> None:
    import uvicorn

    from ultrafast.testing.app import make_app

    parent = os.getppid()
    config = uvicorn.Config(
        make_app(),
        access_log=False,
        log_level="critical",  # a cut connection is what was asked for, not an error to report
        lifespan="off",
        timeout_graceful_shutdown=1,
        ws="none",
    )
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)
    if not serving.done():
        host, port = listener.getsockname()[:2]
        line = msgspec.json.encode({"url": f"http://{host}:{port}", "pid": os.getpid()})
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
    while with_parent and not serving.done():
        # Asking is the one way that holds for every death and in every pid namespace: a death
        # signal follows the thread that started us, a pipe can be kept open by a fork.
        if os.getppid() != parent:
            server.should_exit = True
            break
        await asyncio.wait({serving}, timeout=_PARENT_CHECK_S)
    await serving


def main(argv: list[str] | None = None) -> None:
    """Serve until told to stop: `python -m ultrafast.testing.loopback [--port N]`."""
    parser = argparse.ArgumentParser(description="A Messages API that asks no model, for tests.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 picks one")
    parser.add_argument("--with-parent", action="store_true", help="end when the parent does")
    arguments = parser.parse_args(argv)
    listener = socket.create_server((_HOST, arguments.port), backlog=512)
    try:
        import uvloop
    except ImportError:
        run = asyncio.run
    else:
        run = uvloop.run
    run(_serve(listener, arguments.with_parent))


if __name__ == "__main__":
    main()
