"""Write the reference pages that follow from the sources, or say which of them are out of date.

    .venv/bin/python tools/reference.py            writes what is out of date under docs/reference
    .venv/bin/python tools/reference.py --check    ends with 1 when a page would be written anew

API pages are made of this checkout's docstrings, read and not imported; the tables of settings,
commands and metrics are asked of the installed package.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
MADE = "<!-- made by tools/reference.py; change the docstrings, not this page -->\n"

# Page -> (title, names in reading order).
PAGES: dict[str, tuple[str, list[str]]] = {
    "system": (
        "The system",
        ["UltraFastAgentManager", "ManagerStatistics", "SystemContext", "attach", "Client"],
    ),
    "agents": ("Agents", ["Agent", "IncomingMessage", "Context", "Profile"]),
    "living": (
        "What agents have",
        ["Restart", "State", "Timer", "Monitor", "AgentEnded", "in_thread"],
    ),
    "messages": (
        "Messages",
        [
            "UltraFastCommunicationBus",
            "Subscription",
            "Publication",
            "TopicMatcher",
        ],
    ),
    "queues": (
        "Named queues and dead letters",
        [
            "WorkQueue",
            "Consumer",
            "WorkItem",
            "QueueReceiver",
            "DeadLetter",
        ],
    ),
    "connections": ("Connections without an event loop", ["connect", "Connection"]),
    "queue": ("The queue alone", ["Queue"]),
    "events": ("Events", ["EnhancedEventBus", "Event"]),
    "store": (
        "The store",
        [
            "UltraFastMemoryStore",
            "StoreStatistics",
            "NamespaceStatistics",
            "Namespace",
        ],
    ),
    "limits": ("Limits and times", ["TokenBucket", "SharedSemaphore", "TTLMap"]),
    "snapshots": (
        "Snapshots of the store",
        [
            "Persistence",
            "RestoreReport",
            "DamagedEntry",
            "SnapshotDone",
            "PersistenceStatistics",
        ],
    ),
    "tasks": (
        "Tasks",
        [
            "Task",
            "Constraints",
            "Result",
            "Usage",
            "OptimizedExecutor",
            "ClaudeConnectionPool",
            "AsyncFileManager",
        ],
    ),
    "measuring": (
        "Measuring",
        ["PerformanceMetrics", "LatencySummary", "PerformanceValidator", "ValidationReport"],
    ),
    "testing": ("Testing", ["LoopbackServer", "Fault", "ScriptedModel"]),
}
LISTED = {name for _, names in PAGES.values() for name in names}
ELSEWHERE = {
    "Config": "config.md",
    "AgentPoolConfig": "config.md",
    "AlertThresholds": "config.md",
    "NamespaceConfig": "config.md",
    "UltrafastError": "errors.md",
}

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


# --- docstrings

_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)


def sections(text: str) -> Iterator[tuple[str, str]]:
    """The parts of a numpydoc docstring; the first has no title."""
    pieces = _SECTION.split(inspect.cleandoc(text))
    yield "", pieces[0].strip()
    yield from (
        (title, body.strip("\n")) for title, body in zip(pieces[1::2], pieces[2::2], strict=True)
    )


def items(body: str) -> Iterator[tuple[str, str]]:
    """Head and description of each entry of a section."""
    head = ""
    lines: list[str] = []
    for line in body.splitlines():
        if line and not line[0].isspace():
            if head:
                yield head, textwrap.dedent("\n".join(lines)).strip()
            head, lines = line, []
        else:
            lines.append(line)
    if head:
        yield head, textwrap.dedent("\n".join(lines)).strip()


def as_markdown(text: str) -> Iterator[str]:
    for title, body in sections(text):
        if not title:
            yield body.replace("[1]_", "")
        elif title == "Examples":
            yield f"```pycon\n{body}\n```"
        elif title == "Notes":
            yield body.replace("[1]_", "")
        elif title != "References":
            entries = []
            for head, description in items(body):
                name, _, kind = head.partition(" : ")
                about = f" ({kind})" if kind else ""
                told = " ".join(description.split())
                entries.append(f"- `{name}`{about}" + (f": {told}" if told else ""))
            yield f"{title}:\n\n" + "\n".join(entries)


# --- API pages


def signature(source: list[str], node: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> str:
    """The lines from `def` to the body, as they are written, without self."""
    lines = source[node.lineno - 1 : node.body[0].lineno - 1]
    text = textwrap.dedent("\n".join(re.sub(r"\s+#.*$", "", line) for line in lines)).strip()
    text = re.sub(
        r"\b(?:async )?def \w+", lambda found: found[0].replace("def ", ""), text, count=1
    )
    text = re.sub(rf"\b{node.name}\(", f"{name}(", text, count=1)
    text = re.sub(r"\((\s*)(?:self|cls)(?:,\s*|(?=\)))", r"(\1", text, count=1)
    return re.sub(r"\s*->\s*None$", "", text.removesuffix(":"))


def struct_signature(node: ast.ClassDef) -> str:
    """The fields of a Struct, one a line, with the defaults that can be written down."""
    rows = []
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and not ast.unparse(each.annotation).startswith("Class"):
            default = f" = {ast.unparse(each.value)}" if each.value is not None else ""
            factory = re.fullmatch(r" = msgspec\.field\(default_factory=(\w+)\)", default)
            default = f" = {factory[1]}()" if factory else default
            rows.append(f"    {ast.unparse(each.target)}: {ast.unparse(each.annotation)}{default},")
    return f"{node.name}(\n" + "\n".join(rows) + "\n)"


def is_public(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and ast.get_docstring(node) is not None
        and not any(ast.unparse(each).endswith(".setter") for each in node.decorator_list)
    )


class Source(NamedTuple):
    lines: list[str]
    node: Definition


def sources() -> dict[str, Source]:
    """Where each name of a page is defined."""
    found: dict[str, Source] = {}
    for path in sorted((ROOT / "ultrafast").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, Definition) and node.name in LISTED:
                if node.name in found:
                    raise SystemExit(f"{node.name} is defined twice; one of them in {path}")
                found[node.name] = Source(text.splitlines(), node)
    if missing := LISTED - set(found):
        raise SystemExit(f"nothing defines {', '.join(sorted(missing))}: mend PAGES")
    return found


def describe(name: str, source: Source) -> Iterator[str]:
    """A name and, for a class, its methods."""
    lines, node = source
    yield f"## {name}"
    if not isinstance(node, ast.ClassDef):
        yield f"```py\n{signature(lines, node, name)}\n```"
        yield from as_markdown(ast.get_docstring(node) or "")
        return
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            yield f"```py\n{signature(lines, method, name)}\n```"
    if "msgspec.Struct" in map(ast.unparse, node.bases):
        yield f"```py\n{struct_signature(node)}\n```"
    yield from as_markdown(ast.get_docstring(node) or "")
    for base in map(ast.unparse, node.bases):
        if base in LISTED:
            yield f"It has all of `{base}` too."
    for method in node.body:
        if is_public(method):
            assert isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
            is_property = any(ast.unparse(each) == "property" for each in method.decorator_list)
            yield f"### {name}.{method.name}" + (" (property)" if is_property else "")
            if not is_property:
                yield f"```py\n{signature(lines, method, method.name)}\n```"
            yield from as_markdown(ast.get_docstring(method) or "")


def api_pages() -> Iterator[tuple[str, str]]:
    """The page of each subject, and the one that lists them."""
    found = sources()
    rows = []
    for page, (title, names) in PAGES.items():
        parts = [f"# {title}", MADE.strip()]
        for name in names:
            parts += describe(name, found[name])
        yield f"api/{page}.md", "\n\n".join(part for part in parts if part) + "\n"
        rows.append(f"| [{title}](api/{page}.md) | {', '.join(f'`{name}`' for name in names)} |")
    others = ", ".join(f"[`{name}`]({page})" for name, page in ELSEWHERE.items())
    yield (
        "api.md",
        f"# API\n\n{MADE}\nPublic names are attributes of `ultrafast`, and of "
        "`ultrafast.testing` for tests. What a page names besides is what those answer with.\n\n"
        "| page | names |\n|---|---|\n" + "\n".join(rows) + f"\n\nElsewhere: {others}.\n",
    )


def unlisted() -> set[str]:
    """Public names that no page would have."""
    tree = ast.parse((ROOT / "ultrafast" / "__init__.py").read_text(encoding="utf-8"))
    public: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            public = set(ast.literal_eval(node.value))
    return {name for name in public if not name.startswith("_")} - LISTED - set(ELSEWHERE)


# --- tables of the installed package


class Field(NamedTuple):
    kind: str
    told: str


def fields(kind: Any) -> dict[str, Field]:
    """What a Struct's docstring says of its fields."""
    found = {}
    for title, body in sections(kind.__doc__):
        if title == "Attributes":
            for head, told in items(body):
                names, _, type_ = head.partition(" : ")
                for name in names.split(","):
                    found[name.strip()] = Field(type_, " ".join(told.split()))
    return found


def number(field: str, value: float) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if field.endswith("_size") and value >= size and value % size == 0:
            return f"{value // size:,} {unit}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,g}"


def config_page() -> str:
    import msgspec

    from ultrafast import config

    ranges: dict[str, tuple[float, float]] = config._RANGES
    special = {
        "name": "1 to 64 of `A-Z a-z 0-9 . _ -`",
        "region_path": "an absolute path",
        "persist_path": "an absolute path of a file",
        "workers": "0 to `max_processes` - 1",
        "agent_pool": "a table, below",
        "alert_thresholds": "a table, below",
        "namespaces": "a table of tables, below",
        "agent_pool.pre_warm": "0 and more for each type",
        "worker_affinity": "'none', 'spread' or lists of processors",
        "model": "a model's name",
        "api_base_url": "an http(s) address",
    }
    parts = [
        "# Config",
        MADE.strip(),
        "Every field is checked when a `Config` is made, from Python (`Config(...)`), a mapping "
        "(`Config.from_dict`) or a TOML file (`Config.from_toml`). In a file the two sizes may be "
        'text, such as `"128MiB"`. An unknown field is refused. How to choose: '
        "[configure](../how-to/configure.md).",
    ]
    for kind, title, prefix in (
        (config.Config, "Fields", ""),
        (config.AgentPoolConfig, "agent_pool", "agent_pool."),
        (config.AlertThresholds, "alert_thresholds", "alert_thresholds."),
        (config.NamespaceConfig, "namespaces, each", "namespaces."),
    ):
        told = fields(kind)
        rows = [f"## {title}", "| field | default | allowed | meaning |\n|---|---|---|---|"]
        if prefix:
            rows.insert(
                1, f"`{kind.__name__}`. {inspect.cleandoc(kind.__doc__ or '').splitlines()[0]}"
            )
        default = kind()
        for field in msgspec.structs.fields(kind):
            value = getattr(default, field.name)
            shown = "see below" if isinstance(value, msgspec.Struct) else f"`{value!r}`"
            if prefix + field.name == "namespaces.ttl_s":
                low, high = ranges[field.name]
                allowed = f"{low:g} to {high:,.0f}"
            elif field.name in ranges:
                low, high = ranges[field.name]
                allowed = f"{number(field.name, low)} to {number(field.name, high)}"
                shown = number(field.name, value)
            elif isinstance(value, bool):
                allowed = "true, false"
            else:
                allowed = special[prefix + field.name]
            if field.name == "queue_capacity":
                allowed += ", a power of two"
            meaning = told[field.name].told if field.name in told else ""
            rows[-1] += f"\n| `{field.name}` | {shown} | {allowed} | {meaning} |"
        parts += rows
    return "\n\n".join(parts) + "\n"


def metrics_page() -> str:
    from ultrafast.metric_names import Counter, Histogram

    source = (ROOT / "ultrafast" / "metric_names.py").read_text(encoding="utf-8")
    told: dict[tuple[str, str], str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            for value, text in zip(node.body, node.body[1:], strict=False):
                if isinstance(value, ast.Assign) and isinstance(text, ast.Expr):
                    name = ast.unparse(value.targets[0])
                    told[node.name, name] = " ".join(str(ast.literal_eval(text.value)).split())
    recorded = "\n".join(
        path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "ultrafast").rglob("*.py"))
        if path.name not in ("metric_names.py", "metrics.py")
    )
    parts = [
        "# Metrics",
        MADE.strip(),
        "Kept in the region by all processes, from the system's start. "
        "`manager.get_performance_metrics()` reads them, `manager.metrics_counter(number)` one "
        "counter. "
        "How they are measured, and what they are worth: "
        "[how figures are measured](../explanation/how-figures-are-measured.md).",
    ]
    for kind, title, unit in (
        (Histogram, "Histograms", "All of nanoseconds, at most 0.8 % too large."),
        (Counter, "Counters", "All only grow."),
    ):
        rows = ["| number | name | counts | recorded |\n|---|---|---|---|"]
        for each in kind:
            used = f"{kind.__name__}.{each.name}" in recorded
            rows[0] += (
                f"\n| {each.value} | `{each.name.lower()}` | {told[kind.__name__, each.name]} | "
                f"{'yes' if used else 'not yet'} |"
            )
        parts += [f"## {title}", unit, *rows]
    return "\n\n".join(parts) + "\n"


def cli_page() -> str:
    from typer.main import get_command

    from ultrafast.cli.app import app

    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]  # a group's
    for name in [name for name, command in commands.items() if hasattr(command, "commands")]:
        group = commands.pop(name)
        commands |= {f"{name} {inner}": each for inner, each in group.commands.items()}
    parts = [
        "# Command line",
        MADE.strip(),
        "`ultrafast COMMAND --help` says the same. `python -m ultrafast` is the same command. "
        "`ultrafast --version` prints the version.",
    ]
    for name, command in commands.items():
        parts += [f"## ultrafast {name}", inspect.cleandoc(command.help)]
        rows = "| option | default | |\n|---|---|---|"
        shown = 0
        for param in command.params:
            if "--help" in param.opts:
                continue
            shown += 1
            metavar = param.metavar or ""
            if param.param_type_name == "argument":
                option, default = metavar or param.name.upper(), "required"
            else:
                option = " ".join([", ".join(param.opts), metavar]).strip()
                default = "required" if param.required else default_of(param.default)
            rows += f"\n| `{option}` | {default} | {param.help or ''} |"
        if shown:
            parts.append(rows)
    parts += [
        "## Exit status",
        "| | |\n|---|---|\n" + "\n".join(f"| {code} | {told} |" for code, told in exit_codes()),
    ]
    return "\n\n".join(parts) + "\n"


def default_of(value: Any) -> str:
    return "" if value is None or value is False else f"`{value}`"


def exit_codes() -> Iterator[tuple[int, str]]:
    tree = ast.parse((ROOT / "ultrafast" / "cli" / "common.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "ExitCode":
            for value, text in zip(node.body, node.body[1:], strict=False):
                if isinstance(value, ast.Assign) and isinstance(text, ast.Expr):
                    yield ast.literal_eval(value.value), str(ast.literal_eval(text.value))


# --- all


def pages() -> Iterator[tuple[str, str]]:
    """Each page's name under docs/reference and its text."""
    if missing := unlisted():
        raise SystemExit(f"no page has {', '.join(sorted(missing))}: add them to PAGES")
    yield from api_pages()
    yield "config.md", config_page()
    yield "metrics.md", metrics_page()
    yield "cli.md", cli_page()


def main(arguments: list[str]) -> int:
    outdated = []
    for name, text in pages():
        path = FOLDER / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        outdated.append(name)
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    said = "is out of date: run tools/reference.py" if "--check" in arguments else "written"
    for name in outdated:
        print(f"docs/reference/{name} {said}")
    return 1 if outdated and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
