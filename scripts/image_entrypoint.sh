#!/bin/sh
# What the image starts with. Beam's services start a worker with options alone; everything else is a command.
# Kubeflow's steps bring a command of their own and pass this by.
set -eu

case ${1:-} in
    -*) ;;
    *) exec "$@" ;;
esac
if [ ! -x /opt/apache/beam/boot ]; then
    echo "This image was built without Beam's boot program and is no worker for Dataflow or Flink: build it with" \
        "--build-arg BEAM_SDK=docker.io/apache/beam_python3.13_sdk:VERSION, VERSION being Beam's in this image." >&2
    exit 2
fi
exec /opt/apache/beam/boot "$@"
