"""Processes that do to one store what they are told, one call at a time. No test."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from ultrafast.core import Region, Table
from ultrafast.store import UltraFastMemoryStore

__all__ = ["Worker", "workers"]

_SPAWN = multiprocessing.get_context("spawn")
_ANSWER_S = 20.0
_UPDATES = {"double": lambda value: value * 2, "wrap": lambda value: [value]}


def _serve(connection: Connection, path: str) -> None:
    with Region.attach(path) as region:
        store = UltraFastMemoryStore(Table(region))
        while (order := connection.recv()) is not None:
            namespace, call, arguments, named = order
            try:
                connection.send((None, _do(store, namespace, call, arguments, named)))
            except Exception as error:  # noqa: BLE001 - what it raised is the answer
                connection.send((type(error).__name__, None))


def _do(
    store: UltraFastMemoryStore, namespace: str, call: str, arguments: tuple[Any, ...], named: Any
) -> Any:
    view = store.namespace(namespace)
    if call == "update_by":
        key, name = arguments
        return store.update(namespace, key, _UPDATES[name], **named)
    if call in ("list", "len", "dict"):
        return {"list": list, "len": len, "dict": dict}[call](view)
    if call == "in":
        return arguments[0] in view
    if call.startswith("store."):
        return getattr(store, call.removeprefix("store."))(namespace, *arguments, **named)
    return getattr(view, call)(*arguments, **named)


class Worker:
    """One of them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __call__(self, namespace: str, call: str, *arguments: Any, **named: Any) -> Any:
        """Its answer; what it raised, as the name of the class in a tuple."""
        self._connection.send((namespace, call, arguments, named))
        assert self._connection.poll(_ANSWER_S), f"no answer to {call}"
        raised, value = self._connection.recv()
        return value if raised is None else (raised,)

    def end(self) -> None:
        self._connection.send(None)


@contextmanager
def workers(path: str, count: int) -> Iterator[list[Worker]]:
    """So many, attached to a region; gone at the end."""
    made: list[Worker] = []
    processes = []
    for _ in range(count):
        near, far = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_serve, args=(far, path), daemon=True)
        process.start()
        far.close()
        processes.append(process)
        made.append(Worker(near))
    try:
        yield made
    finally:
        for worker, process in zip(made, processes, strict=True):
            worker.end()
            process.join(_ANSWER_S)
            process.kill()
