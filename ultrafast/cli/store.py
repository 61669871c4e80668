"""`ultrafast store`: look into snapshot files and running stores, and change them.

Stands on `ultrafast.store.offline` for files and on the doors for running systems. TARGET is a
snapshot file where there is one of that path, and else the name of a running system.
"""

from __future__ import annotations

import base64
import json
import math
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ultrafast.cli.common import ExitCode, complain, errors_for_people
from ultrafast.errors import InvalidArgument, UltrafastError

if TYPE_CHECKING:
    from ultrafast.core import Table
    from ultrafast.store.offline import KeptEntry

__all__ = ["store"]

store = typer.Typer(
    no_args_is_help=True,
    help="Look into a store: a snapshot file, or that of a running system.",
)

_File = Annotated[Path, typer.Argument(metavar="FILE", help="A snapshot file.")]
_Target = Annotated[
    str,
    typer.Argument(metavar="TARGET", help="A snapshot file, or the name of a running system."),
]
_Folder = Annotated[
    str, typer.Option("--directory", metavar="DIR", help="Where the system's region is.")
]
_SHM = "/dev/shm"
_TAKEN_AT_ONCE = 1000


@store.command()
def verify(file: _File) -> None:
    """Check a snapshot file: its structure, and the checksum of every record.

    Ends with 0 when all is whole, 1 when something is damaged, 2 when it is no snapshot or can't
    be read. Changes nothing; a system may be using the file.
    """
    from ultrafast.store.offline import read

    with errors_for_people():
        content = read(str(file))
    if content.structure is not None:
        complain(content.structure)
    for each in content.damaged:
        name = "unreadable name" if each.key is None else f"{each.namespace!r} {each.key!r}"
        complain(f"damaged: {name}, in segment {each.segment}: {each.reason}")
    made = "never"
    if content.made_ns:
        made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(content.made_ns / 1e9))
    typer.echo(
        f"{len(content.entries):,} entries, {content.expired:,} expired, in {content.records:,} "
        f"records of {content.segments:,} segments, {content.bytes / 1048576:.1f} MiB; newest: "
        f"{made}; damaged: {len(content.damaged):,}"
    )
    if content.damaged or content.structure is not None:
        raise typer.Exit(ExitCode.FAILED)


@store.command()
def dump(
    file: _File,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.jsonl", help="Where to; stdout.")
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="Only this one.")] = None,
) -> None:
    """Write every entry of a snapshot file as a line of JSON, for `load`.

    Ends with 1 when something in the file is damaged; what is whole is written all the same.
    """
    from ultrafast.store.offline import read

    with errors_for_people():
        content = read(str(file))
        lines = [
            _as_line(entry)
            for _, entry in sorted(content.entries.items())
            if namespace is None or entry.namespace == namespace
        ]
        text = "".join(f"{line}\n" for line in lines)
        if out is None:
            sys.stdout.write(text)
        else:
            out.write_text(text, encoding="utf-8")
            typer.echo(f"{len(lines):,} entries written to {out}")
    if content.damaged or content.structure is not None:
        complain(
            content.structure
            or f"{len(content.damaged):,} records are damaged; `verify` names them"
        )
        raise typer.Exit(ExitCode.FAILED)


@store.command()
def load(
    target: _Target,
    source: Annotated[
        Path | None,
        typer.Argument(metavar="FILE.jsonl", help="What `dump` wrote; stdin when not given."),
    ] = None,
    system: Annotated[
        bool, typer.Option("--system", help="TARGET is a running system, not a new file.")
    ] = False,
    directory: _Folder = _SHM,
) -> None:
    """Put the entries of a dump into a snapshot file, made where there is none, or into a system.

    Earlier entries of the same keys are replaced. A file in use by a system is refused.
    """
    with errors_for_people():
        lines = source.read_text(encoding="utf-8") if source is not None else sys.stdin.read()
        entries = [_of_line(number, line) for number, line in _numbered(lines)]
        if system:
            count = _with_system(
                target, directory, lambda table: _put_all(table, entries), read_only=False
            )
        else:
            from ultrafast.store.offline import write

            count = write(target, entries)
        typer.echo(f"{count:,} entries loaded into {target}")


@store.command()
def compact(file: _File) -> None:
    """Write a snapshot file anew with only what counts; what is damaged in it is left behind."""
    from ultrafast.store.offline import compact as compacted

    with errors_for_people():
        if not file.is_file():
            raise InvalidArgument(f"{file}: there is no such file")
        before, after = compacted(str(file))
        typer.echo(f"{file}: {before / 1048576:.1f} MiB before, {after / 1048576:.1f} MiB now")


@store.command("ls")
def list_entries(
    target: _Target,
    namespace: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    prefix: Annotated[str, typer.Option(help="Only keys that begin so.")] = "",
    count: Annotated[bool, typer.Option("--count", help="Only how many, by namespace.")] = False,
    directory: _Folder = _SHM,
) -> None:
    """List namespaces and keys, a pair a line, sorted."""
    with errors_for_people():
        if _is_file(target):
            from ultrafast.store.offline import read

            pairs: Iterable[tuple[str, str]] = read(target).entries
        else:
            pairs = _with_system(target, directory, lambda table: list(table.keys(namespace)))
    chosen = sorted(
        (space, key)
        for space, key in pairs
        if (namespace is None or space == namespace) and key.startswith(prefix)
    )
    if count:
        spaces: dict[str, int] = {}
        for space, _ in chosen:
            spaces[space] = spaces.get(space, 0) + 1
        _counts(spaces)
        return
    for space, key in chosen:
        typer.echo(f"{space}\t{key}")


@store.command()
def get(
    target: _Target,
    namespace: Annotated[str, typer.Argument()],
    key: Annotated[str, typer.Argument()],
    raw: Annotated[bool, typer.Option("--raw", help="Bytes and text as they are.")] = False,
    directory: _Folder = _SHM,
) -> None:
    """Print a value, as JSON where that can say it; ends with 1 when there is no such entry."""
    absent = object()
    value: Any = absent
    with errors_for_people():
        if _is_file(target):
            from ultrafast.store.offline import read, value_of

            entry = read(target).entries.get((namespace, key))
            value = absent if entry is None else value_of(entry)
        else:
            value = _with_system(
                target, directory, lambda table: _value_in(table, namespace, key, absent)
            )
    if value is absent:
        complain(f"{target}: no entry {namespace!r} {key!r}")
        raise typer.Exit(ExitCode.FAILED)
    if raw and isinstance(value, bytes | str):
        sys.stdout.buffer.write(value.encode() if isinstance(value, str) else value)
        sys.stdout.buffer.flush()
        return
    try:
        typer.echo(json.dumps(value, ensure_ascii=False))
    except TypeError:
        typer.echo(repr(value))


@store.command("set")
def set_entry(
    target: _Target,
    namespace: Annotated[str, typer.Argument()],
    key: Annotated[str, typer.Argument()],
    value: Annotated[str, typer.Argument(help="JSON; what is none is kept as text.")],
    text: Annotated[bool, typer.Option("--text", help="Keep it as text even so.")] = False,
    ttl_s: Annotated[float | None, typer.Option(help="Seconds until it is gone.")] = None,
    directory: _Folder = _SHM,
) -> None:
    """Keep a value, in a running system or in a file that none is using."""
    decoded: Any = value
    if not text:
        try:
            decoded = json.loads(value)
        except ValueError:
            decoded = value
    with errors_for_people():
        if ttl_s is not None and not 0 < ttl_s <= 1e9:
            raise InvalidArgument(f"ttl_s is {ttl_s}; allowed is more than 0, up to 1e9 seconds")
        from ultrafast.store.offline import make_entry, write

        expires_ns = 0 if ttl_s is None else time.time_ns() + int(ttl_s * 1e9)
        kept = make_entry(namespace, key, decoded, expires_ns)
        if _is_file(target):
            write(target, [kept])
        else:
            _with_system(target, directory, lambda table: _put_all(table, [kept]), read_only=False)


# --- targets


def _is_file(target: str) -> bool:
    """Whether TARGET is a snapshot file; a region's path is the name of a system."""
    try:
        status = os.stat(target)
    except OSError:
        if target.endswith(os.sep) or (os.sep in target and "ultrafast-" not in target):
            raise InvalidArgument(f"{target}: there is no such file") from None
        return False
    if not stat.S_ISREG(status.st_mode):
        raise InvalidArgument(f"{target}: is neither a file nor the name of a system")
    with open(target, "rb") as file:
        return file.read(8) != b"ULTRFAST"


def _with_system(
    name: str, directory: str, use: Callable[[Table], Any], *, read_only: bool = True
) -> Any:
    from ultrafast.core import Region, Table
    from ultrafast.core.leftovers import region_path

    path = name if os.sep in name else region_path(directory, name)
    with Region.attach(path, read_only=read_only) as region:
        return use(Table(region))


def _value_in(table: Table, namespace: str, key: str, default: Any) -> Any:
    from ultrafast.store import UltraFastMemoryStore

    return UltraFastMemoryStore(table).get(namespace, key, default)


def _put_all(table: Table, entries: list[KeptEntry]) -> int:
    from ultrafast.store import UltraFastMemoryStore
    from ultrafast.store.offline import value_of

    kept = UltraFastMemoryStore(table)
    now_ns = time.time_ns()
    count = 0
    for each in entries:
        ttl_s = None
        if each.expires_ns:
            ttl_s = (each.expires_ns - now_ns) / 1e9
            if ttl_s <= 0:
                continue
        kept.set(each.namespace, each.key, value_of(each), ttl_s=ttl_s)
        count += 1
    return count


def _counts(spaces: dict[str, int]) -> None:
    from rich import table
    from rich.console import Console

    shown = table.Table("namespace", "entries", box=None)
    for space, number in spaces.items():
        shown.add_row(space, f"{number:,}")
    Console(highlight=False).print(shown)


# --- lines of a dump


def _as_line(entry: KeptEntry) -> str:
    from ultrafast.store.offline import value_of

    line: dict[str, Any] = {"namespace": entry.namespace, "key": entry.key}
    plain = False
    if entry.tag < 16:
        value = value_of(entry)
        plain = value is None or isinstance(value, bool | int | str)
        plain |= isinstance(value, float) and math.isfinite(value)
        line["value"] = value
    if not plain:
        line.pop("value", None)
        line["tag"] = entry.tag
        line["data"] = base64.b64encode(entry.data).decode()
    if entry.expires_ns:
        line["expires_ns"] = entry.expires_ns
    return json.dumps(line, ensure_ascii=False)


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    return ((n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip())


def _of_line(number: int, line: str) -> KeptEntry:
    from ultrafast.store.offline import KeptEntry, make_entry

    try:
        fields = json.loads(line)
        expires_ns = fields.get("expires_ns", 0)
        space, key = fields["namespace"], fields["key"]
        if not (isinstance(space, str) and isinstance(key, str)):
            raise ValueError("namespace and key are text")
        if type(expires_ns) is not int or not 0 <= expires_ns < 1 << 63:
            raise ValueError("expires_ns is a number of nanoseconds")
        if "data" not in fields:
            return make_entry(space, key, fields["value"], expires_ns)
        tag = fields["tag"]
        if type(tag) is not int or not 0 < tag < 1 << 32:
            raise ValueError("tag is a positive number")
        data = base64.b64decode(fields["data"], validate=True)
        return KeptEntry(namespace=space, key=key, tag=tag, data=data, expires_ns=expires_ns)
    except UltrafastError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidArgument(f"line {number} is none of a dump: {error!r}") from None
