"""Imports go one way: `#include` in csrc/, `cimport` in the doors, `import` in Python.

The order of the C layer has one source, the includes of csrc/uf.h; that of the Python layers is the
table MAY_IMPORT below.
"""

import ast
import re
import sys
from collections.abc import Iterator, Sequence

from house.tree import ROOT, files, own_header, read

# --- C: a header includes only headers that uf.h includes before it -------------------------------

FORBIDDEN_HEADERS = {"stdio.h", "stdlib.h", "malloc.h", "Python.h"}
FORBIDDEN_CALLS = re.compile(
    r"\b(malloc|calloc|realloc|free|alloca|f?printf|puts|perror|abort|exit|"
    r"clock_gettime|gettimeofday|time|nanosleep|clock_nanosleep|usleep|sleep|rand|random)\s*\("
)
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
C_COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)


def c_order(uf_h: str) -> list[str]:
    return [own for own, _ in INCLUDE.findall(uf_h) if own]


def c_violations(name: str, text: str, order: Sequence[str]) -> Iterator[str]:
    own = own_header(name, text, order)
    if own not in order:
        yield f"{name}: csrc/uf.h does not include {own}"
        return
    # A header uses what stands before it; a structure's sources also use its own two headers.
    usable = list(order[: order.index(own)])
    if name != own:
        usable += [own, own.replace(".h", "_in.h")]
    for project, system in INCLUDE.findall(text):
        if project and project not in usable:
            yield f"{name}: includes {project}, which does not stand before it in csrc/uf.h"
        if system in FORBIDDEN_HEADERS:
            yield f"{name}: includes <{system}>: the core neither allocates nor prints"
    for call in FORBIDDEN_CALLS.findall(C_COMMENT_OR_STRING.sub(" ", text)):
        yield f"{name}: calls {call}(): the core does not allocate, print, exit or read a clock"


def test_c_includes_go_one_way() -> None:
    order = c_order(read("csrc/uf.h"))
    assert len(order) > 5, "csrc/uf.h lists the core's headers in the order of their layers"
    names = [name.removeprefix("csrc/") for name in files(".c", ".h", under="csrc/")]
    found = [
        line
        for name in names
        if name != "uf.h"
        for line in c_violations(name, read(f"csrc/{name}"), order)
    ]
    assert not found, "\n".join(found)
    assert set(order) <= set(names), "csrc/uf.h includes a header that is not there"


def test_c_rule_sees_violations() -> None:
    order = c_order('#include "uf_line.h"\n#include "uf_pool.h"\n#include "uf_ring.h"\n')
    assert order == ["uf_line.h", "uf_pool.h", "uf_ring.h"]
    assert list(c_violations("uf_pool.h", '#include "uf_ring.h"\n', order))
    assert list(c_violations("uf_pool.c", '#include "uf_ring.h"\n', order))
    assert list(c_violations("uf_pool.c", '#include "uf_ring_in.h"\n', order))
    assert list(c_violations("uf_pool_in.h", '#include "uf_ring.h"\n', order))
    assert list(c_violations("uf_extra.c", '#include "uf_pool.h"\n#include "uf_ring.h"\n', order))
    assert list(c_violations("uf_pool.c", "#include <stdlib.h>\n", order))
    assert list(c_violations("uf_pool.c", "x = malloc(4);", order))
    assert list(c_violations("uf_new.h", "", order))
    good = '#include "uf_line.h"\n#include "uf_pool.h"\n/* free() is for others */\n'
    assert not list(c_violations("uf_pool.c", good, order))
    assert not list(c_violations("uf_pool_in.h", good, order))
    assert not list(c_violations("uf_extra.c", '#include "uf_pool_in.h"\n' + good, order))


# --- Cython: doors onto the core, standing on each other, the errors and nothing else -------------

CIMPORT = re.compile(r"^\s*(?:from\s+(\S+)\s+cimport\b|cimport\s+([\w.]+))", re.MULTILINE)
IMPORT = re.compile(
    r"^\s*(?:from\s+(ultrafast\s+import\s+\w+|\S+(?=\s+import\b))|import\s+([\w.]+))", re.MULTILINE
)
CIMPORTABLE = ("cython", "libc", "cpython", "posix", "ultrafast.core")
DOORS_MAY_IMPORT = ("ultrafast.errors", "ultrafast.core")


def cython_violations(name: str, text: str) -> Iterator[str]:
    for modules, allowed in (
        (CIMPORT.findall(text), CIMPORTABLE),
        (IMPORT.findall(text), DOORS_MAY_IMPORT),
    ):
        for module in (_spelt_out(one or other) for one, other in modules):
            ours = module.split(".")[0] == "ultrafast" or allowed is CIMPORTABLE
            if ours and not module.startswith(".") and not _within(module, allowed):
                yield f"{name}: stands on {module}; a door stands on {', '.join(allowed)}"
    if re.search(r"^\s*include\s+[\"']", text, re.MULTILINE):
        yield f"{name}: textual include; doors are modules that cimport each other"
    if "cdef extern from" in text and not name.endswith(("/_c.pxd", "/_py.pxd")):
        yield f"{name}: quotes C declarations, which _c.pxd does of the core, _py.pxd of CPython"


def _spelt_out(module: str) -> str:
    """`from ultrafast import errors` is an import of ultrafast.errors."""
    return re.sub(r"\s+import\s+", ".", module)


def _within(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def test_doors_stand_on_the_core_only() -> None:
    names = list(files(".pyx", ".pxd"))
    assert names, "there are no doors"
    found = [line for name in names for line in cython_violations(name, read(name))]
    assert not found, "\n".join(found)


def test_door_rule_sees_violations() -> None:
    door = "ultrafast/core/_ring.pyx"
    assert list(cython_violations(door, "from ultrafast.bus.bus import Bus\n"))
    assert list(cython_violations(door, "import ultrafast.store\n"))
    assert list(cython_violations(door, "from ultrafast import store\n"))
    assert list(cython_violations(door, "cimport numpy\n"))
    assert list(cython_violations(door, 'include "other.pxi"\n'))
    assert list(cython_violations(door, 'cdef extern from "uf_ring.h":\n    pass\n'))
    good = "from ultrafast.core cimport _c\nfrom libc.stdint cimport uint32_t\nimport os\n"
    good += "from ultrafast import errors\n"
    assert not list(cython_violations(door, good))


# --- Python: each area and the areas that it may import -------------------------------------------

_VOCABULARY = {"_version", "errors", "checks", "config", "codec", "metric_names"}
_PLUMBING = _VOCABULARY | {"core", "settings", "sizing"}
_ENGINE = _PLUMBING | {"bus", "store", "executor", "agents"}
_PUBLIC = _ENGINE | {"monitoring", "cluster", "manager", "client", "connection", "__init__"}

MAY_IMPORT: dict[str, set[str]] = {
    "_version": set(),
    "errors": set(),
    "checks": {"errors"},
    "config": {"errors", "checks"},
    "codec": {"errors", "config"},
    "metric_names": set(),
    "core": {"errors"},
    "settings": {"errors", "config", "core"},
    "sizing": {"errors", "config", "core"},
    "bus": _PLUMBING,
    "store": _PLUMBING,
    "executor": _PLUMBING | {"bus", "store"},
    "agents": _PLUMBING | {"bus", "store", "executor"},
    "monitoring": _ENGINE,
    "cluster": _ENGINE,
    "manager": _ENGINE | {"monitoring", "cluster"},
    "client": _ENGINE,
    "connection": _PLUMBING | {"bus"},
    "__init__": _PUBLIC,
    "testing": _PUBLIC,
    "jobs": _PUBLIC | {"testing"},
    "validation": _PUBLIC | {"testing"},
    "cli": _PUBLIC | {"testing", "jobs", "validation"},
    "__main__": {"cli"},
}
EXCEPTIONS = {  # they publish what changed
    "ultrafast/store/watch.py": {"bus"},
    "ultrafast/store/lookout.py": {"bus"},
}

# Layers that stand where a user stands: public names only.
OUTSIDE = {"testing", "jobs", "validation", "cli", "__main__"}
ONLY_IMPORTER = {"anthropic": "ultrafast/executor/claude.py"}
VOCABULARY_LIBRARIES = {"msgspec", "numpy", "cloudpickle"}


def imported(name: str, text: str) -> Iterator[tuple[str, str]]:
    """The (module, name) pairs that a file imports, relative ones made absolute; name may be ''."""
    package = name.removesuffix(".py").removesuffix(".pyi").split("/")[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


def python_violations(name: str, text: str) -> Iterator[str]:
    area = name.split("/")[1].removesuffix(".pyi").removesuffix(".py")
    if area not in MAY_IMPORT:
        yield f"{name}: '{area}' is in no layer; give it one in MAY_IMPORT"
        return
    allowed = MAY_IMPORT[area] | EXCEPTIONS.get(name, set()) | {area}
    for module, item in imported(name, text):
        top, *rest = module.split(".")
        if top != "ultrafast":
            if ONLY_IMPORTER.get(top, name) != name:
                yield f"{name}: imports {top}, which {ONLY_IMPORTER[top]} alone does"
            third_party = top not in sys.stdlib_module_names
            if area in _VOCABULARY and third_party and top not in VOCABULARY_LIBRARIES:
                yield f"{name}: imports {top}; this layer stands on {sorted(VOCABULARY_LIBRARIES)}"
            continue
        target = rest[0] if rest else (item if item in MAY_IMPORT else "__init__")
        if target not in allowed:
            yield f"{name}: '{area}' imports {module} {item}, but may use {sorted(allowed)}"
        private = [part for part in (*rest, item) if part[:1] == "_" and part[:2] != "__"]
        if area in OUTSIDE and target != area and private:
            yield f"{name}: imports the private {'.'.join(private)} of ultrafast.{target}"


def test_python_imports_go_one_way() -> None:
    names = list(files(".py", ".pyi", under="ultrafast/"))
    assert "ultrafast/__init__.py" in names
    found = [line for name in names for line in python_violations(name, read(name))]
    assert not found, "\n".join(found)


def test_python_rule_sees_violations() -> None:
    seeded = {
        "ultrafast/bus/bus.py": "from ultrafast.agents.processes import worker",
        "ultrafast/bus/topics.py": "from ..store import store",
        "ultrafast/store/store.py": "def f():\n    import ultrafast.bus.bus",
        "ultrafast/executor/executor.py": "import anthropic",
        "ultrafast/agents/agent.py": "from ultrafast import manager",
        "ultrafast/agents/placing/pools.py": "import ultrafast",
        "ultrafast/errors.py": "import rich",
        "ultrafast/cli/run.py": "from ultrafast.core import _ring",
        "ultrafast/novelty/x.py": "",
    }
    for name, text in seeded.items():
        assert list(python_violations(name, text)), name
    good = {
        "ultrafast/store/watch.py": "from ultrafast.bus import bus",
        "ultrafast/bus/bus.py": "from ultrafast.core._ring import Ring\nfrom . import topics",
        "ultrafast/executor/claude.py": "import anthropic",
        "ultrafast/cli/run.py": "import ultrafast as uf\nfrom ultrafast.testing import server",
    }
    for name, text in good.items():
        assert not list(python_violations(name, text)), name


def test_every_layer_of_the_table_is_spelt_as_the_tree_spells_it() -> None:
    present = {
        path.stem for path in (ROOT / "ultrafast").iterdir() if not path.name.startswith("__py")
    } - {"py"}
    assert {"core", "errors", "manager"} <= present & set(MAY_IMPORT)
