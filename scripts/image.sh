#!/usr/bin/env bash
# Builds the pipeline's images with docker or podman, and pushes them with PUSH=1: image.sh [cpu] [gpu]
# IMAGE=registry/name, BASE (see Containerfile), ENGINE=docker|podman, PIP_CONF=FILE (a pip.conf for the build).
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# What the images are made from. A change of anything else gives the same tags.
INPUTS=(Containerfile requirements/{setup,image,gpu}.txt components configs pipelines serving trainer)
BASE=${BASE:-$(sed -n 's/^ARG BASE=//p' "$ROOT/Containerfile")}
IMAGE=${IMAGE:-localhost/catsdogs}

step() { printf '==> %s\n' "$*" >&2; }

fail() {
    printf 'image: %s\n' "$*" >&2
    exit 2
}

# Prints docker or podman, whichever works here.
find_engine() {
    local engine
    for engine in ${ENGINE:-docker podman}; do
        if "$engine" info >/dev/null 2>&1; then
            echo "$engine"
            return
        fi
    done
    if [[ -n ${ENGINE:-} ]]; then
        fail "ENGINE=$ENGINE is not at work here: is it installed, and does its service run?"
    fi
    fail "found neither docker nor podman at work here, and images are built with one of them: apt-get install podman," \
        "or start docker's service."
}

# Sets FLAGS to what podman needs to start a container here. Where limits of processes and files cannot be raised, its
# own default asks for too much; where crun does not know the cgroups, runc does.
find_flags() {
    local limits="--ulimit nofile=10000:10000 --ulimit nproc=9000:9000" runc flags
    FLAGS=()
    runc=$(type -P runc || true)
    [[ $ENGINE == podman ]] || return 0
    podman image exists "$BASE" || podman pull --quiet "$BASE" >/dev/null || fail "$BASE, the base, cannot be fetched;" \
        "see the message of podman above. To use another one: BASE=registry/name:tag, with Debian 13 or Ubuntu 24.04."
    for flags in "" "$limits" ${runc:+"--runtime $runc" "--runtime $runc $limits"}; do
        read -ra FLAGS <<<"$flags"
        ! podman run --rm --network=none "${FLAGS[@]}" "$BASE" true 2>"$WORK/probe" || return 0
    done
    fail "podman cannot start a container here: $(tail -n 1 "$WORK/probe")"
}

# The package index that this host uses, and the certificates it trusts, for the time of the build alone.
find_secrets() {
    local bundle=${SSL_CERT_FILE:-${PIP_CERT:-${REQUESTS_CA_BUNDLE:-}}} name value
    SECRETS=()
    if [[ -n ${PIP_CONF:-} ]]; then
        [[ -r $PIP_CONF ]] || fail "PIP_CONF=$PIP_CONF cannot be read: name a pip.conf."
        cp "$PIP_CONF" "$WORK/pip.conf"
    else
        echo "[global]" >"$WORK/pip.conf"
        [[ ! -r $bundle ]] || echo "cert = /run/secrets/ca_bundle" >>"$WORK/pip.conf"
        for name in index-url extra-index-url trusted-host; do
            value=$(python3 -m pip config get "global.$name" 2>/dev/null || true)
            [[ -z $value || $value == *file:* ]] || echo "$name = $value" >>"$WORK/pip.conf"
        done
        value=${PIP_INDEX_URL:-${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-}}}
        [[ -z $value ]] || echo "index-url = $value" >>"$WORK/pip.conf"
    fi
    SECRETS+=(--secret "id=pip_conf,src=$WORK/pip.conf")
    [[ ! -r $bundle ]] || SECRETS+=(--secret "id=ca_bundle,src=$bundle")
}

# Twelve digits that stand for all that the images are made from.
content() {
    (cd "$ROOT" && find "${INPUTS[@]}" -type f ! -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) |
        sha256sum | cut -c 1-12
}

# The commit that last touched what is inside, so that a commit of documentation alone gives the same image.
revision() {
    local commit
    commit=$(git -C "$ROOT" log -1 --format=%H -- "${INPUTS[@]}" 2>/dev/null) || true
    [[ -z $(git -C "$ROOT" status --porcelain -- "${INPUTS[@]}" 2>/dev/null) ]] || commit+=-modified
    echo "${commit:-unknown}"
}

# The fingerprint that a compiled pipeline holds the image to.
code_fingerprint() {
    (cd "$ROOT" && .venv/bin/python -c 'from components import fingerprint
from pipelines.kubeflow.container.entrypoint import CODE
print(fingerprint.of_code(*CODE))')
}

# Builds one target and prints its image's id.
build() {
    local target=$1 name=$2
    step "Building $name (the first time cpu takes minutes and 4 GB, gpu 6 GB more; after that code alone, seconds)"
    DOCKER_BUILDKIT=1 "$ENGINE" build ${FLAGS[@]+"${FLAGS[@]}"} "${SECRETS[@]}" --file "$ROOT/Containerfile" --target "$target" \
        --build-arg BASE="$BASE" --build-arg REVISION="$(revision)" --build-arg CODE="$(code_fingerprint)" --tag "$name" "$ROOT" >&2 ||
        fail "$name could not be built: see the message of $ENGINE above. Then repeat the command; finished layers are cached."
}

# Pushes an image and prints its name by digest.
push() {
    local name=$1
    step "Pushing $name"
    if [[ $ENGINE == podman ]]; then
        podman push --digestfile "$WORK/digest" "$name" >&2 || return 1
        echo "$IMAGE@$(cat "$WORK/digest")"
    else
        docker push "$name" >&2 || return 1
        docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$name" | grep -F "$IMAGE@" | head -n 1
    fi
}

main() {
    local target name tag reference
    local -a targets=("$@") settings=()
    ((${#targets[@]})) || targets=(cpu gpu)
    for target in "${targets[@]}"; do
        [[ $target == cpu || $target == gpu ]] || fail "there is no target $target: cpu or gpu, or both."
    done
    if [[ ${PUSH:-} == 1 && $IMAGE == localhost/* ]]; then
        fail "PUSH=1 needs to know where: make image PUSH=1 IMAGE=registry.example.com/team/catsdogs"
    fi
    ENGINE=$(find_engine)
    WORK=$(mktemp -d)
    trap 'rm -rf "$WORK"' EXIT
    find_flags
    find_secrets
    tag=$(content)
    for target in "${targets[@]}"; do
        name=$IMAGE:$target-$tag
        build "$target" "$name"
        [[ $(content) == "$tag" ]] || fail "the code was changed while $name was built from it: repeat the command."
        reference="$IMAGE@sha256:…"
        if [[ ${PUSH:-} == 1 ]]; then
            reference=$(push "$name") || fail "$name could not be pushed: see the message of $ENGINE above." \
                "Is the login to that registry done ($ENGINE login)?"
        fi
        settings+=("--set kubeflow.images.$target=$reference")
        echo "Built $name, $("$ENGINE" image inspect --format '{{.Size}}' "$name" | awk '{ printf "%.1f GB", $1 / 1e9 }')"
    done
    next_steps "$tag" "${targets[@]}"
}

next_steps() {
    local tag=$1 setting
    shift
    echo
    if [[ ${PUSH:-} != 1 ]]; then
        echo "Next: push the images and get the digests for catsdogs compile:"
        echo "    make image PUSH=1 IMAGE=registry.example.com/team/catsdogs"
        return
    fi
    echo "Next: compile with these images, by digest, so that nobody can put others in their place:"
    echo "    catsdogs compile --config kubeflow \\"
    for setting in "${settings[@]}"; do
        echo "        $setting \\"
    done
    echo "        --output pipeline.yaml"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    main "$@"
fi
