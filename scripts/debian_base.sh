#!/usr/bin/env bash
# Makes a base image of Debian 13 with debootstrap, for where no registry can be reached: debian_base.sh NAME
# The packages come from the mirror that this host already uses, checked against Debian's keys.
set -euo pipefail

# shellcheck source=scripts/newer_glibc.sh
source "$(dirname "${BASH_SOURCE[0]}")/newer_glibc.sh"
RELEASE=trixie

fail() {
    printf 'debian_base: %s\n' "$*" >&2
    exit 2
}

require_tools() {
    command -v debootstrap >/dev/null || fail "no registry can be reached to fetch a base image from, and there is no" \
        "debootstrap to make one: apt-get install debootstrap, or name a base image that podman has: BASE=NAME"
    ((EUID == 0)) || fail "making a base image with debootstrap takes root: repeat the command as root, or name a base" \
        "image that podman has: BASE=NAME"
}

main() {
    local name=$1 mirror
    require_tools
    WORK=$(mktemp -d -p /var/tmp)
    trap 'rm -rf "$WORK"' EXIT
    for mirror in $(host_mirrors); do
        echo "==> Making a base image of Debian 13 with debootstrap (a minute)" >&2
        rm -rf "$WORK/root"
        if debootstrap --variant=minbase "$RELEASE" "$WORK/root" "$mirror" >"$WORK/log" 2>&1; then
            rm -rf "$WORK"/root/var/{cache/apt/archives/*.deb,lib/apt/lists/*,log/*}
            sed -i 's,://[^/@]*@,://,' "$WORK/root/etc/apt/sources.list" # a mirror's password stays on this host
            tar -C "$WORK/root" -c . | podman import --quiet - "$name" >/dev/null
            return
        fi
    done
    fail "debootstrap found no mirror with Debian 13 in this host's apt sources: $(tail -n 1 "$WORK/log" 2>/dev/null)"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    main "$@"
fi
