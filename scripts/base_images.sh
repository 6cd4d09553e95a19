#!/usr/bin/env bash
# Pins the base images in the Containerfile to what their tags mean in the registry now.
set -euo pipefail

CONTAINERFILE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/Containerfile

fail() {
    printf 'base-images: %s\n' "$*" >&2
    exit 2
}

# Prints the digest of an image's tag: of the index, for an image of several platforms.
current_digest() {
    skopeo inspect --raw "docker://$1" | sha256sum | cut -d ' ' -f 1 ||
        fail "the digest of $1 cannot be read: see the message of skopeo above. The Containerfile is as it was."
}

main() {
    local -a edits=()
    local name pinned image digest
    command -v skopeo >/dev/null || fail "skopeo, which reads digests from registries, is not installed: apt-get install skopeo"
    while IFS='=' read -r name pinned; do
        image=${pinned%@*}
        digest=sha256:$(current_digest "$image")
        [[ $pinned == "$image@$digest" ]] || echo "$image is now $digest"
        edits+=(--expression "s|^ARG $name=.*|ARG $name=$image@$digest|")
    done < <(sed -n 's/^ARG \([A-Z_]*=..*\)/\1/p' "$CONTAINERFILE")
    sed --in-place "${edits[@]}" "$CONTAINERFILE"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    main "$@"
fi
