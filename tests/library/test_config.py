"""Settings: defaults as documented, each one checked, from Python and from TOML."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ultrafast.config import (
    _RANGES,
    GIB,
    KIB,
    MIB,
    AgentPoolConfig,
    AlertThresholds,
    Config,
    NamespaceConfig,
)
from ultrafast.errors import ConfigError, UltrafastError

DEFAULTS = {
    "max_spawn_time_ms": 100,
    "max_communication_latency_ms": 5,
    "max_concurrent_agents": 10_000,
    "shared_buffer_size": 128 * MIB,
    "message_pool_size": 50_000,
    "event_bus_workers": 8,
    "executor_concurrency": 20,
    "memory_store_size": 64 * MIB,
    "enable_performance_monitoring": True,
    "performance_validation_interval_ms": 1000,
    "agent_pool": AgentPoolConfig(
        pre_warm={"coder": 10, "researcher": 5, "analyst": 5, "tester": 8, "reviewer": 5},
        dynamic_scaling=True,
        scale_up_threshold=0.8,
        scale_down_threshold=0.3,
    ),
    "alert_thresholds": AlertThresholds(
        spawn_time_p95_ms=100,
        communication_latency_p95_ms=5,
        memory_usage_percent=85,
        cpu_usage_percent=80,
    ),
}


def test_defaults() -> None:
    config = Config()
    assert {field: getattr(config, field) for field in DEFAULTS} == DEFAULTS


def test_a_config_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Config().workers = 3  # type: ignore[misc]  # what is tested


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a/b"),
        ("name", "x" * 65),
        ("name", 3),
        ("region_path", "relative"),
        ("region_path", None),
        ("workers", -1),
        ("workers", 64),
        ("workers", 1.0),
        ("workers", True),
        ("max_concurrent_agents", 0),
        ("max_concurrent_agents", 10.0),
        ("max_concurrent_agents", "10"),
        ("max_concurrent_agents", 10**9),
        ("max_spawn_time_ms", 0),
        ("max_spawn_time_ms", float("nan")),
        ("max_spawn_time_ms", float("inf")),
        ("max_spawn_time_ms", True),
        ("shared_buffer_size", "128MiB"),
        ("shared_buffer_size", 10),
        ("memory_store_size", MIB),
        ("queue_capacity", 1000),
        ("queue_capacity", 8),
        ("max_processes", 1023),
        ("enable_performance_monitoring", 1),
        ("agent_pool", {"pre_warm": {}}),
        ("alert_thresholds", None),
        ("namespaces", ["pages"]),
        ("model", ""),
        ("api_base_url", "localhost:80"),
        ("api_base_url", "https://"),
        ("result_cache_ttl_s", -1.0),
        ("shutdown_timeout_s", -0.5),
    ],
)
def test_a_wrong_value_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**{field: value})
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, UltrafastError)
    assert str(caught.value).startswith(field)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("field", [*Config.__struct_fields__])
def test_both_ends_of_every_range_are_allowed_and_no_more(field: str) -> None:
    if field not in _RANGES:
        default = getattr(Config(), field)
        number = isinstance(default, int | float) and not isinstance(default, bool)
        assert not number, f"{field} is a number and has no range"
        return
    low, high = _RANGES[field]
    step = 1 if isinstance(low, int) else 1e-4
    for value in (low, high):
        assert getattr(Config(**{field: value}), field) == value
    for value in (low - step, high + step):
        with pytest.raises(ConfigError, match=f"^{field} is"):
            Config(**{field: value})


@pytest.mark.parametrize(
    "settings",
    [
        {"pre_warm": {"coder": -1}},
        {"pre_warm": {"coder": 1.5}},
        {"pre_warm": {"": 1}},
        {"pre_warm": {"a b": 1}},
        {"pre_warm": [("coder", 1)]},
        {"dynamic_scaling": "yes"},
        {"scale_up_threshold": 1.1},
        {"scale_up_threshold": 0.2},
        {"scale_up_threshold": 0.3},
    ],
)
def test_a_wrong_pool_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^agent_pool"):
        AgentPoolConfig(**settings)


def test_thresholds_are_percentages() -> None:
    with pytest.raises(ConfigError, match=r"^alert_thresholds\.cpu_usage_percent is 101"):
        AlertThresholds(cpu_usage_percent=101)


def test_namespaces_are_declared_by_name() -> None:
    config = Config(namespaces={"pages": NamespaceConfig(cache=True, ttl_s=60)})
    assert config.namespaces["pages"].cache and config.namespaces["pages"].ttl_s == 60
    assert Config(namespaces={str(n): NamespaceConfig() for n in range(128)})
    for wrong, said in (
        ({str(n): NamespaceConfig() for n in range(129)}, "a dict of at most 128"),
        ({"x" * 193: NamespaceConfig()}, "at most 192 bytes"),
        ({"\ud800": NamespaceConfig()}, "at most 192 bytes"),
        ({3: NamespaceConfig()}, "at most 192 bytes"),
        ({"pages": {"cache": True}}, r"namespaces\['pages'\] is .*; allowed is a NamespaceConfig"),
    ):
        with pytest.raises(ConfigError, match=said):
            Config(namespaces=wrong)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ConfigError, match=r"^namespaces\.ttl_s is 0; allowed is"):
        NamespaceConfig(ttl_s=0)
    with pytest.raises(ConfigError, match=r"^namespaces\.cache is 1; allowed is"):
        NamespaceConfig(cache=1)  # type: ignore[arg-type]  # what is tested


def test_more_warm_than_allowed_agents_are_refused() -> None:
    with pytest.raises(ConfigError, match="asks for 20 agents and max_concurrent_agents is 10"):
        Config(max_concurrent_agents=10, agent_pool=AgentPoolConfig(pre_warm={"x": 20}))
    assert Config(max_concurrent_agents=1).max_concurrent_agents == 1


def test_workers_and_the_manager_are_processes() -> None:
    assert Config(workers=3, max_processes=4).workers == 3
    with pytest.raises(ConfigError, match="0 to 3"):
        Config(workers=4, max_processes=4)


TOML = """
name = "crew"
workers = 2
shared_buffer_size = "1.5 GiB"
memory_store_size = 67108864
max_spawn_time_ms = 50

[agent_pool]
pre_warm = { coder = 3 }
scale_down_threshold = 0.1

[alert_thresholds]
cpu_usage_percent = 90

[namespaces]
pages = { cache = true, ttl_s = 3600 }
notes = {}
"""


def test_a_toml_file(tmp_path: Path) -> None:
    file = tmp_path / "crew.toml"
    file.write_text(TOML)
    config = Config.from_toml(file)
    assert config == Config(
        name="crew",
        workers=2,
        shared_buffer_size=3 * GIB // 2,
        max_spawn_time_ms=50,
        agent_pool=AgentPoolConfig(pre_warm={"coder": 3}, scale_down_threshold=0.1),
        alert_thresholds=AlertThresholds(cpu_usage_percent=90),
        namespaces={"pages": NamespaceConfig(cache=True, ttl_s=3600), "notes": NamespaceConfig()},
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worker = 2", "worker is no setting; did you mean workers?"),
        ("zzz = 2", "zzz is no setting; known are name, "),
        ("[agent_pool]\nprewarm = {}", "agent_pool.prewarm is no setting; did you mean agent_pool"),
        ("namespaces = 3", "namespaces is 3; allowed is a table"),
        ("[namespaces]\npages = 3", "namespaces[...]: Expected `object`"),
        (
            "[namespaces.a]\ncach = true",
            "namespaces.a.cach is no setting; did you mean",
        ),
        ("[namespaces.a]\nttl_s = -1", "namespaces.ttl_s is -1"),
        ("agent_pool = 3", "agent_pool is 3; allowed is a table"),
        ('workers = "two"', "workers: Expected `int | null`, got `str`"),
        ("[agent_pool]\npre_warm = { coder = 'x' }", "agent_pool.pre_warm[...]: Expected `int`"),
        ("workers = -1", "workers is -1; allowed is"),
        ("[agent_pool]\nscale_up_threshold = 2.0", "agent_pool.scale_up_threshold is 2.0"),
        (
            'shared_buffer_size = "12 parsecs"',
            "shared_buffer_size is '12 parsecs'; allowed is a nu",
        ),
        ('memory_store_size = "1KiB"', f"memory_store_size is {KIB}; allowed"),
        ("workers = ", "not readable as TOML"),
        ('name = "\xff"', "not readable as TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_name(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "wrong.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        Config.from_toml(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Config.from_toml(tmp_path / "none.toml")


def test_from_dict_leaves_its_argument_alone() -> None:
    settings = {"shared_buffer_size": "256MiB", "agent_pool": {"pre_warm": {"coder": 1}}}
    config = Config.from_dict(settings)
    assert config.shared_buffer_size == 256 * MIB and config.agent_pool.pre_warm == {"coder": 1}
    assert settings["shared_buffer_size"] == "256MiB"


def test_a_config_survives_the_bytes_in_which_processes_pass_it_on() -> None:
    config = Config(name="x", agent_pool=AgentPoolConfig(pre_warm={"a": 1}), model="m")
    data = msgspec.msgpack.encode(config)
    assert msgspec.msgpack.decode(data, type=Config) == config
    assert Config.from_dict(msgspec.msgpack.decode(data)) == config
