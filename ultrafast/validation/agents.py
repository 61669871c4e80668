"""The agents that measurements are made with: `Target`, `Pacer`, `Chatter`.

Stand on the public `Agent`. They send, count and answer; what the figures are is for `load` to say.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

import msgspec

from ultrafast import Agent, IncomingMessage
from ultrafast.errors import UltrafastError

__all__ = [
    "CHATTER",
    "NAMESPACE",
    "PACER",
    "TARGET",
    "TARGET_COLD",
    "Chatter",
    "Pacer",
    "PacerOrder",
    "PacerReport",
    "Target",
    "report_key",
]

TARGET = "validation-target"
TARGET_COLD = "validation-target-cold"
PACER = "validation-pacer"
CHATTER = "validation-chatter"
"""The names they are registered under; a cold target is a target without a pool."""

NAMESPACE = "validation"
"""Namespace of the shared store in which a pacer leaves its report."""


_LEAD_NS = 250_000_000


class Target(Agent):
    """Receives paced messages (bytes) and counts them; answers anything else with who it is."""

    received = 0

    def on_message(self, message: IncomingMessage) -> Any:
        """Count, or answer."""
        if isinstance(message.body, bytes):
            self.received += 1
            return None
        return {"pid": os.getpid(), "received": self.received}


class PacerOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pacer is to send.

    Parameters
    ----------
    receivers : list of int
        Each gets a message in turn.
    rate : float
        Messages a second.
    messages : int
        How many in all.
    payload_bytes : int
        Of each.
    """

    receivers: list[int]
    rate: float
    messages: int
    payload_bytes: int


class PacerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a pacer did.

    Parameters
    ----------
    accepted, refused : int
        Messages, by what became of the call.
    errors : dict of str to int
        Calls that raised, by the class of the error.
    latest_ms : float
        The most that a message was sent after its intended time.
    seconds : float
        From the first intended time to the last call's end.
    """

    accepted: int
    refused: int
    errors: dict[str, int]
    latest_ms: float
    seconds: float


def report_key(pacer: int) -> str:
    """Where in the store a pacer leaves its report."""
    return f"pacer-{pacer:x}"


class Pacer(Agent):
    """Sends at fixed intended times, whatever becomes of the messages before: an open loop.

    A thread of its own does so, because the worker's loop belongs to the agents. Each message
    carries its intended time, so one that is sent late counts as late.
    """

    def on_start(self) -> None:
        """Begin without an order."""
        self._ends = threading.Event()

    def on_message(self, message: IncomingMessage) -> Any:
        """Take an order and begin, the report is left in the store; or say who this is."""
        if not isinstance(message.body, dict):
            return {"pid": os.getpid()}
        order = msgspec.convert(message.body, PacerOrder)
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, args=(order, loop), daemon=True).start()
        return {"pid": os.getpid()}

    def on_stop(self) -> None:
        """Send no more."""
        self._ends.set()

    def _run(self, order: PacerOrder, loop: asyncio.AbstractEventLoop) -> None:
        send = self.context.send_nowait
        body = bytes(order.payload_bytes)
        period_ns = 1e9 / order.rate
        accepted = refused = latest_ns = 0
        errors: dict[str, int] = {}
        # Late enough for whoever gave the order to be ready to measure.
        begin_ns = time.monotonic_ns() + _LEAD_NS
        for index in range(order.messages):
            if self._ends.is_set():
                break
            intended_ns = begin_ns + int(index * period_ns)
            early_ns = intended_ns - time.monotonic_ns()
            if early_ns > 0:
                time.sleep(early_ns / 1e9)
            latest_ns = max(latest_ns, time.monotonic_ns() - intended_ns)
            receiver = order.receivers[index % len(order.receivers)]
            try:
                taken = send(receiver, body, sent_ns=intended_ns)
            except UltrafastError as error:
                name = type(error).__name__
                errors[name] = errors.get(name, 0) + 1
            else:
                accepted += taken
                refused += not taken
        report = PacerReport(
            accepted=accepted,
            refused=refused,
            errors=errors,
            latest_ms=latest_ns / 1e6,
            seconds=(time.monotonic_ns() - begin_ns) / 1e9,
        )
        loop.call_soon_threadsafe(self._leave, report)

    def _leave(self, report: PacerReport) -> None:
        self.context.memory_store.set(NAMESPACE, report_key(self.id), msgspec.to_builtins(report))


class Chatter(Agent):
    """Passes numbers back and forth with a peer, as fast as it goes: a closed loop."""

    def on_start(self) -> None:
        """Begin silent."""
        self._peer = 0
        self._handled = 0
        self._lost = 0

    def on_message(self, message: IncomingMessage) -> Any:
        """Pass a number on; or begin with `{"peer", "tokens"}`, end with `{"peer": 0}`."""
        body = message.body
        if isinstance(body, int):
            self._handled += 1
            if self._peer:
                self._pass_on(body + 1)
            return None
        self._peer = int(body["peer"])
        for _ in range(int(body.get("tokens", 0))):
            self._pass_on(0)
        return {"pid": os.getpid(), "handled": self._handled, "lost": self._lost}

    def _pass_on(self, number: int) -> None:
        if not self.context.send_nowait(self._peer, number):
            self._lost += 1
