"""The settings of a system: `Config`, each field checked, from Python or from a TOML file.

Stands on msgspec and the errors. Does not decide what a region is made of: `ultrafast.sizing` does.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from typing import Any

import msgspec

from ultrafast.checks import (
    GIB,
    KIB,
    MIB,
    bytes_of,
    check_affinity,
    check_bool,
    check_known,
    check_persist,
    check_ranges,
    readable,
    wrong,
)
from ultrafast.errors import ConfigError

__all__ = ["GIB", "KIB", "MIB", "AgentPoolConfig", "AlertThresholds", "Config", "NamespaceConfig"]

PROCESSES_MAX = 1022
AGENTS_MAX = 3_000_000
NAMESPACES_MAX, NAMESPACE_BYTES_MAX = 128, 192

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TYPE_NAME = re.compile(r"[A-Za-z0-9._-]{1,55}")
_SIZE_FIELDS = (
    "shared_buffer_size",
    "memory_store_size",
    "largest_value_bytes",
    "persist_file_size",
    "worker_memory_bytes",
)

# Field -> (lowest, highest); an int low means that only whole numbers will do.
_RANGES: dict[str, tuple[float, float]] = {
    "max_spawn_time_ms": (0.001, 60_000.0),
    "max_communication_latency_ms": (0.001, 60_000.0),
    "max_concurrent_agents": (1, AGENTS_MAX),
    "shared_buffer_size": (MIB, 1024 * GIB),
    "message_pool_size": (100, 5_000_000),
    "event_bus_workers": (1, 1024),
    "executor_concurrency": (1, 10_000),
    "memory_store_size": (4 * MIB, 1024 * GIB),
    "largest_value_bytes": (0, GIB),
    "snapshot_interval_ms": (10, 86_400_000),
    "persist_file_size": (0, 1 << 46),
    "performance_validation_interval_ms": (10, 3_600_000),
    "mailbox_capacity": (1, 1_000_000),
    "queue_capacity": (16, 1 << 20),
    "spare_workers": (0, 64),
    "worker_memory_bytes": (0, 1 << 46),
    "max_processes": (2, PROCESSES_MAX),
    "max_named_queues": (0, 8192),
    "max_redeliveries": (0, 200),
    "worker_hang_timeout_s": (0.1, 86_400.0),
    "rebalance_above": (0.0, 1.0),
    "blocking_warning_ms": (0.0, 86_400_000.0),
    "shutdown_timeout_s": (0.0, 86_400.0),
    "persist_timeout_s": (0.0, 31_536_000.0),
    "loop_spin_us": (0.0, 10_000.0),
    "spin_us": (0.0, 1_000_000.0),
    "result_cache_ttl_s": (0.0, 31_536_000.0),
    # AgentPoolConfig, NamespaceConfig and AlertThresholds
    "scale_up_threshold": (0.0, 1.0),
    "scale_down_threshold": (0.0, 1.0),
    "ttl_s": (0.001, 1e9),
    "spawn_time_p95_ms": (0.001, 60_000.0),
    "communication_latency_p95_ms": (0.001, 60_000.0),
    "memory_usage_percent": (0.1, 100.0),
    "cpu_usage_percent": (0.1, 100.0),
}


class AgentPoolConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many agents wait ready to be spawned, and when there become more or fewer of them.

    Attributes
    ----------
    pre_warm : dict of str to int
        Type -> agents kept warm, over all workers.
    dynamic_scaling : bool
        Whether pools grow and shrink with demand; they are refilled either way.
    scale_up_threshold : float
        When more than this share of a pool is in use, its size doubles; when what is expected to be
        spawned in two seconds would use more, it grows to hold it. Up to 16 times the first size.
    scale_down_threshold : float
        When less than this share is in use, and expected to be, for a second, it halves, down to
        the first; warm agents beyond its size are given back.
    """

    pre_warm: dict[str, int] = msgspec.field(
        default_factory=lambda: {
            "coder": 10,
            "researcher": 5,
            "analyst": 5,
            "tester": 8,
            "reviewer": 5,
        }
    )
    dynamic_scaling: bool = True
    scale_up_threshold: float = 0.8
    scale_down_threshold: float = 0.3

    def __post_init__(self) -> None:
        check_ranges(self, "agent_pool.", _RANGES)
        check_bool("agent_pool.dynamic_scaling", self.dynamic_scaling)
        if not isinstance(self.pre_warm, dict):
            raise wrong("agent_pool.pre_warm", self.pre_warm, "a dict of type name to number")
        for name, number in self.pre_warm.items():
            if not isinstance(name, str) or not _TYPE_NAME.fullmatch(name):
                raise ConfigError(
                    f"agent_pool.pre_warm: {name!r} is no type name; use 1 to 55 of the "
                    "characters A-Z a-z 0-9 . _ -"
                )
            if type(number) is not int or not 0 <= number <= AGENTS_MAX:
                raise wrong(
                    f"agent_pool.pre_warm[{name!r}]", number, f"a whole number, 0 to {AGENTS_MAX:,}"
                )
        if not self.scale_down_threshold < self.scale_up_threshold:
            raise ConfigError(
                f"agent_pool: scale_down_threshold is {self.scale_down_threshold:g} and "
                f"scale_up_threshold {self.scale_up_threshold:g}; the first must be the smaller"
            )


class AlertThresholds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is reported when it is exceeded.

    Attributes
    ----------
    spawn_time_p95_ms, communication_latency_p95_ms : float
        Of the last interval.
    memory_usage_percent, cpu_usage_percent : float
        Of the machine.
    """

    spawn_time_p95_ms: float = 100.0
    communication_latency_p95_ms: float = 5.0
    memory_usage_percent: float = 85.0
    cpu_usage_percent: float = 80.0

    def __post_init__(self) -> None:
        check_ranges(self, "alert_thresholds.", _RANGES)


def _can_be_declared(name: str) -> bool:
    try:
        return len(name.encode()) <= NAMESPACE_BYTES_MAX
    except UnicodeEncodeError:
        return False


class NamespaceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is declared of a namespace of the store, to all processes, from the start.

    Attributes
    ----------
    cache : bool
        Whether a full store may take its entries back, those not read for longest first.
    ttl_s : float, optional
        How long entries live that are written without a time of their own; None is for ever.
    """

    cache: bool = False
    ttl_s: float | None = None

    def __post_init__(self) -> None:
        check_bool("namespaces.cache", self.cache)
        if self.ttl_s is not None:
            check_ranges(self, "namespaces.", _RANGES)


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one system. Every field is honoured, and checked when a Config is made.

    Attributes
    ----------
    name : str, optional
        What other processes attach by; chosen at random when None.
    region_path : str
        Directory of the shared file. In `/dev/shm` it is gone with the machine's next start; on a
        disk it stays.
    workers : int, optional
        Processes that host agents: None is one for each core, 0 hosts them in the caller's loop.
    worker_memory_bytes : int
        A worker that takes more of its own (what is no part of the region or of files) hands its
        agents over to a fresh process and ends. 0 is no limit; a worker without agents takes
        some 40 MiB.
    spare_workers : int
        Processes that wait, their modules imported, to take the place of a worker that dies. Each
        takes some 22 MB (PSS), and a second or less of processor time to start.
    max_spawn_time_ms, max_communication_latency_ms : float
        The targets of `validate_performance_targets`, for the 95th percentile.
    max_concurrent_agents : int
        Agents alive at a time.
    shared_buffer_size : int
        Bytes of the region for all but the store: messages, queues, agents, metrics.
    message_pool_size : int
        Messages on their way at a time, of all sizes together.
    event_bus_workers : int
        Event handlers that run at a time, in each process.
    executor_concurrency : int
        Requests to the model under way at a time.
    memory_store_size : int
        Bytes of the region for the shared store, its index included.
    largest_value_bytes : int
        Largest value that the store takes, 1 MiB or more; 0 is a 32nd of `memory_store_size`, at
        least 1 MiB and at most 16 MiB. Two such values have room at any time, within
        `memory_store_size`.
    namespaces : dict of str to NamespaceConfig
        Namespaces of the store that are caches, or whose entries live for a time. Said anew at each
        start; others keep what `memory_store.namespace` declared, in an adopted region and in a
        snapshot.
    persist_path : str, optional
        File that the store's entries are kept in: restored at the start, written each
        `snapshot_interval_ms` and at the end. None keeps them in the region only.
    snapshot_interval_ms : int
        How often what changed is written; what a power cut can cost at most.
    persist_file_size : int
        Bytes that the file may grow to; 0 is four times `memory_store_size` and 64 MiB.
    agent_pool : AgentPoolConfig
    enable_performance_monitoring : bool
        Whether the targets and thresholds are watched while the system runs.
    performance_validation_interval_ms : int
        How often they are.
    alert_thresholds : AlertThresholds
    mailbox_capacity : int
        Messages that may wait for one agent, unless its type says otherwise.
    queue_capacity : int
        Messages in each of the four priority lanes of a queue; a power of two.
    max_processes : int
        Processes attached at a time: the manager, workers, clients, and dead ones not yet mended.
    max_named_queues : int
        Work queues and queue groups, besides the processes' own queues.
    max_redeliveries : int
        How often a message may come again after the death of who was handling it; then it is a
        dead letter. Agent types may say otherwise.
    allow_pickle : bool
        Whether what has no plain form travels pickled. To unpickle runs the code that the bytes
        name, and once it is on, a process does so for every system it is in: turn it on where every
        process that may attach is trusted.
    worker_hang_timeout_s : float
        A worker that gives no sign for so long is taken for dead.
    rebalance_above : float
        A worker whose load is above this share of a processor, and well above another's, gives idle
        agents of movable types to that one; 0 is never.
    blocking_warning_ms : float
        An agent that keeps its loop from turning for so long is named in a warning and an event,
        with its stack; 0 is never.
    shutdown_timeout_s : float
        How long agents have to end.
    loop_spin_us : float
        How long an event loop whose inbox ran empty looks again before it sleeps, between its other
        callbacks and only while messages use to come that soon; 0 is never. It buys latency between
        busy processes with processor time.
    persist : bool
        Whether workers outlive their manager's death and go on, for the next manager of the name to
        take over; and the region, wherever it is, all of them. Needs `name` and a worker.
    persist_timeout_s : float
        How long workers wait for that manager before they end in order; 0 is for ever.
    worker_affinity : "none", "spread" or list of lists of int
        The processors that workers may run on. "none": the operating system decides. "spread": one
        each of those that the manager may use, in turn. Lists: the first worker's processors, the
        second's, and so on, in turn.
    spin_us : float
        How long, in microseconds, one who waits for a message may look before it sleeps. How long
        it does look follows from how long the last waits were; 0 is never.
    model : str, optional
        For tasks that name none; None is the executor's default.
    api_base_url : str, optional
        Where the Messages API is, when not at its usual place.
    result_cache_ttl_s : float
        How long an answer of the model may be used for an identical task; 0 is never.

    Raises
    ------
    ConfigError
        A value is out of its range, or does not go with another.

    Examples
    --------
    >>> Config(max_concurrent_agents=100).executor_concurrency
    20
    >>> Config(workers=-1)
    Traceback (most recent call last):
        ...
    ultrafast.errors.ConfigError: workers is -1; allowed is None (one for each core) or ...
    """

    name: str | None = None
    region_path: str = "/dev/shm"
    workers: int | None = None
    worker_memory_bytes: int = 0
    spare_workers: int = 1
    max_spawn_time_ms: float = 100.0
    max_communication_latency_ms: float = 5.0
    max_concurrent_agents: int = 10_000
    shared_buffer_size: int = 128 * MIB
    message_pool_size: int = 50_000
    event_bus_workers: int = 8
    executor_concurrency: int = 20
    memory_store_size: int = 64 * MIB
    largest_value_bytes: int = 0
    namespaces: dict[str, NamespaceConfig] = msgspec.field(default_factory=dict)
    persist_path: str | None = None
    snapshot_interval_ms: int = 1000
    persist_file_size: int = 0
    agent_pool: AgentPoolConfig = msgspec.field(default_factory=AgentPoolConfig)
    enable_performance_monitoring: bool = True
    performance_validation_interval_ms: int = 1000
    alert_thresholds: AlertThresholds = msgspec.field(default_factory=AlertThresholds)
    mailbox_capacity: int = 1000
    queue_capacity: int = 8192
    max_processes: int = 64
    max_named_queues: int = 32
    max_redeliveries: int = 3
    allow_pickle: bool = False
    worker_hang_timeout_s: float = 30.0
    rebalance_above: float = 0.8
    blocking_warning_ms: float = 100.0
    shutdown_timeout_s: float = 10.0
    loop_spin_us: float = 0.0
    persist: bool = False
    persist_timeout_s: float = 0.0
    worker_affinity: str | list[list[int]] = "none"
    spin_us: float = 50.0
    model: str | None = None
    api_base_url: str | None = None
    result_cache_ttl_s: float = 300.0

    def __post_init__(self) -> None:
        check_ranges(self, "", _RANGES, _SIZE_FIELDS)
        check_bool("enable_performance_monitoring", self.enable_performance_monitoring)
        if not isinstance(self.agent_pool, AgentPoolConfig):
            raise wrong("agent_pool", self.agent_pool, "an AgentPoolConfig")
        if not isinstance(self.alert_thresholds, AlertThresholds):
            raise wrong("alert_thresholds", self.alert_thresholds, "an AlertThresholds")
        if self.queue_capacity & (self.queue_capacity - 1):
            below = 1 << (self.queue_capacity.bit_length() - 1)
            raise ConfigError(
                f"queue_capacity is {self.queue_capacity}; it must be a power of two, such as "
                f"{below} or {below * 2}"
            )
        if 0 < self.largest_value_bytes < MIB:
            raise wrong(
                "largest_value_bytes",
                self.largest_value_bytes,
                f"0 (by memory_store_size), or {MIB:,} to {GIB:,}",
            )
        self._check_namespaces()
        self._check_place()
        self._check_processes()
        check_persist(self.persist, self.name, self.workers)
        check_affinity(self.worker_affinity)
        self._check_model()
        warm = sum(self.agent_pool.pre_warm.values())
        if warm > self.max_concurrent_agents and self.agent_pool != AgentPoolConfig():
            raise ConfigError(
                f"agent_pool.pre_warm asks for {warm:,} agents and max_concurrent_agents is "
                f"{self.max_concurrent_agents:,}; raise it, or warm fewer"
            )

    def _check_namespaces(self) -> None:
        if not isinstance(self.namespaces, dict) or len(self.namespaces) > NAMESPACES_MAX:
            allowed = f"a dict of at most {NAMESPACES_MAX} names, each to a NamespaceConfig"
            raise wrong("namespaces", self.namespaces, allowed)
        for name, said in self.namespaces.items():
            if not isinstance(name, str) or not _can_be_declared(name):
                raise ConfigError(
                    f"namespaces: {name!r} can't be declared; a name is text of at most "
                    f"{NAMESPACE_BYTES_MAX} bytes"
                )
            if not isinstance(said, NamespaceConfig):
                raise wrong(f"namespaces[{name!r}]", said, "a NamespaceConfig")

    def _check_place(self) -> None:
        if self.name is not None and not (
            isinstance(self.name, str) and _NAME.fullmatch(self.name)
        ):
            raise wrong(
                "name", self.name, "None (a random one) or 1 to 64 characters of A-Z a-z 0-9 . _ -"
            )
        if not isinstance(self.region_path, str) or not os.path.isabs(self.region_path):
            raise wrong(
                "region_path", self.region_path, "an absolute path of a directory, as '/dev/shm'"
            )
        if self.persist_path is not None and not (
            isinstance(self.persist_path, str)
            and os.path.isabs(self.persist_path)
            and os.path.basename(self.persist_path)
        ):
            raise wrong(
                "persist_path", self.persist_path, "None, or an absolute path of a file on a disk"
            )

    def _check_processes(self) -> None:
        if self.workers is not None and (
            type(self.workers) is not int or not 0 <= self.workers < self.max_processes
        ):
            raise ConfigError(
                f"workers is {self.workers!r}; allowed is None (one for each core) or 0 to "
                f"{self.max_processes - 1}: max_processes is {self.max_processes}, and the manager "
                "is one of them"
            )

    def _check_model(self) -> None:
        if self.model is not None and (not isinstance(self.model, str) or not self.model):
            raise wrong("model", self.model, "None (the executor's default) or a model's name")
        if self.api_base_url is not None and not (
            isinstance(self.api_base_url, str)
            and re.fullmatch(r"https?://[^\s/]\S*", self.api_base_url)
        ):
            raise wrong(
                "api_base_url", self.api_base_url, "None (the usual place) or an http(s):// address"
            )

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Config:
        """A Config of plain values, as a TOML or JSON file has them.

        Parameters
        ----------
        settings : mapping
            Field -> value; tables for `agent_pool`, `alert_thresholds` and each of `namespaces`.
            Sizes may be written as "128MiB".

        Returns
        -------
        Config

        Raises
        ------
        ConfigError
            A field is unknown, has the wrong type, or is out of its range.
        """
        check_known(settings, cls, "")
        plain = dict(settings)
        for field, inner in (
            ("agent_pool", AgentPoolConfig),
            ("alert_thresholds", AlertThresholds),
        ):
            if field in plain:
                if not isinstance(plain[field], Mapping):
                    raise wrong(field, plain[field], "a table")
                check_known(plain[field], inner, f"{field}.")
        declared = plain.get("namespaces", {})
        if not isinstance(declared, Mapping):
            raise wrong("namespaces", declared, "a table of tables")
        for name, said in declared.items():
            if isinstance(said, Mapping):
                check_known(said, NamespaceConfig, f"namespaces.{name}.")
        for field in _SIZE_FIELDS:
            if isinstance(plain.get(field), str):
                plain[field] = bytes_of(field, plain[field])
        try:
            return msgspec.convert(plain, cls)
        except msgspec.ValidationError as error:
            if isinstance(error.__cause__, ConfigError):
                raise error.__cause__ from None
            raise ConfigError(readable(error)) from None

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Config:
        """A Config from a TOML file whose top level has the fields.

        Parameters
        ----------
        path : path-like

        Returns
        -------
        Config

        Raises
        ------
        ConfigError
            As `from_dict`, or the file is no TOML; the message names the file.
        OSError
            The file can't be read.
        """
        with open(path, "rb") as file:
            try:
                return cls.from_dict(tomllib.load(file))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise ConfigError(f"{os.fspath(path)}: not readable as TOML: {error}") from None
            except ConfigError as error:
                raise ConfigError(f"{os.fspath(path)}: {error}") from None
