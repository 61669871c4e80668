"""`EventBridge`: carries events between the event buses of a system's processes.

Stands on an `Endpoint` and the directory. An event goes to the processes that have a handler for it
and to no others; like a publication it is not kept for those that come later.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from ultrafast import codec
from ultrafast.bus.directory import EVENT, Directory, Interest
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.events import EnhancedEventBus
from ultrafast.bus.wire import CONTROL_LANE, Kind
from ultrafast.core import Message
from ultrafast.errors import SubjectError, UltrafastError

__all__ = ["EventBridge"]

log = logging.getLogger(__name__)


class EventBridge:
    """Joins one process's event bus to the others'.

    Parameters
    ----------
    endpoint : Endpoint
    directory : Directory
    events : EnhancedEventBus
        This process's. What it emits goes out, what others emit is delivered to it.
    """

    def __init__(self, endpoint: Endpoint, directory: Directory, events: EnhancedEventBus) -> None:
        self._endpoint = endpoint
        self._directory = directory
        self._events = events
        endpoint.on(Kind.EVENT, self._arrived)
        endpoint.at_stop(self._leave)
        events.connect(self._publish, self._wanted)

    def say(self, subject: str, payload: Any) -> None:
        """Emit an event that is made often, only if there is a handler for it somewhere."""
        if self._events.is_wanted(subject) or self._others(subject):
            self._events.emit_soon(subject, payload)

    def _others(self, subject: str) -> set[int]:
        found = self._directory.matching(EVENT, subject)
        return {each.queue for each in found} - {self._endpoint.index}

    def _publish(self, subject: str, payload: Any) -> None:
        queues = self._others(subject)
        if not queues:
            return
        body, number = codec.encode([subject, payload])
        for queue in queues:
            if not self._endpoint.post(queue, CONTROL_LANE, body, int(Kind.EVENT), number):
                log.warning("event %r found the inbox of a process full", subject)

    def _wanted(self, pattern: str, wanted: bool) -> None:
        interest = Interest(EVENT, "", pattern, self._endpoint.index)
        if wanted:
            self._directory.announce(interest)
        else:
            self._directory.withdraw(interest)

    def _arrived(self, message: Message) -> None:
        try:
            subject, payload = codec.decode(message.payload, message.codec)
            self._events.deliver(subject, payload, message.trace)
        except (UltrafastError, SubjectError, TypeError, ValueError, msgspec.MsgspecError) as error:
            log.warning("an event can't be read: %s", error)
        finally:
            message.release()

    def _leave(self) -> None:
        self._events.connect(None, None)
