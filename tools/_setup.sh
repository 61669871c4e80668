# Shared by the commands beside it, which source this: find a Python, make .venv, install the project.
# shellcheck shell=bash
#
# uf_setup [EXTRA]   .venv holds this checkout, installed as a user would, with that extra's tools.
#                    Nothing is done that an earlier run has done, unless the sources changed.
# uf_say TEXT...     one line about what happens next.
# uf_pip ARG...      pip install, quietly, into .venv.
#
# Needs python3 (3.11, 3.12 or 3.13), a C compiler and the package registry; nothing else.

uf_root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
uf_venv="$uf_root/.venv"

uf_say() { printf '\n==> %s\n' "$*"; }

uf_fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# The version of a Python as 3.12 when it is one we support, else nothing.
uf_supported() {
    "$1" -c 'import sys
v = sys.version_info
cpython = sys.implementation.name == "cpython"
print(f"{v[0]}.{v[1]}" if cpython and (3, 11) <= v[:2] <= (3, 13) else "")' 2>/dev/null || true
}

# Set uf_python and uf_version: the first python3 on PATH, or else a supported one by its full name.
uf_find_python() {
    local name found
    for name in python3 python3.13 python3.12 python3.11; do
        found="$(command -v "$name")" || continue
        uf_version="$(uf_supported "$found")"
        if [[ -n "$uf_version" ]]; then
            uf_python="$found"
            return
        fi
        if [[ "$name" == python3 ]]; then
            uf_say "python3 on PATH is $("$found" --version 2>&1 || true), which ultrafast does not" \
                "support; looking for 3.13, 3.12 or 3.11"
        fi
    done
    uf_fail "no CPython 3.11, 3.12 or 3.13 on PATH: install one, or put it on PATH as python3"
}

uf_find_compiler() {
    local name
    for name in "${CC:-cc}" gcc clang; do
        if command -v "$name" >/dev/null; then
            return
        fi
    done
    uf_fail "no C compiler on PATH (looked for ${CC:-cc}, gcc, clang): install one, for example gcc"
}

uf_make_venv() {
    if [[ -x "$uf_venv/bin/python" ]]; then
        if [[ "$(uf_supported "$uf_venv/bin/python")" == "$uf_version" ]]; then
            return
        fi
        uf_say "making .venv anew: it was made by another Python than $uf_version"
    else
        uf_say "making .venv with $uf_python (Python $uf_version)"
    fi
    "$uf_python" -c 'import ensurepip, venv' 2>/dev/null ||
        uf_fail "$uf_python cannot make virtual environments (its venv or ensurepip module is" \
            "missing): install them, on Debian with 'apt install python3-venv'"
    rm -rf -- "$uf_venv"
    "$uf_python" -m venv "$uf_venv"
}

# A digest of everything the installed package is made from.
uf_digest() {
    (
        cd "$uf_root"
        find csrc ultrafast pyproject.toml CMakeLists.txt README.md LICENSE -type f \
            -not -path '*/__pycache__/*' -not -path '*/.*' -print0 |
            LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1
    )
}

uf_pip() {
    "$uf_venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

uf_setup() {
    local extra="${1:-}" digest stamp="$uf_venv/ultrafast-installed"
    uf_find_python
    uf_find_compiler
    uf_make_venv
    digest="$(uf_digest)"
    if [[ "$(cat "$stamp" 2>/dev/null || true)" != "$digest" ]]; then
        uf_say "building ultrafast and installing it into .venv (a minute or two)"
        rm -f -- "$stamp" "$stamp"-*
        uf_pip "$uf_root"
        printf '%s\n' "$digest" >"$stamp"
    fi
    if [[ -n "$extra" && ! -e "$stamp-$extra" ]]; then
        uf_say "installing the tools of the extra '$extra' into .venv"
        # What is installed already satisfies the name, so only the extra's requirements are fetched.
        uf_pip "ultrafast[$extra]"
        touch -- "$stamp-$extra"
    fi
}
