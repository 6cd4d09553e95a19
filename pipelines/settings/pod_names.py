"""Validates mount paths, claims and environment variables against the names that a pod already uses.

Kubernetes rejects invalid names itself, but a name that is already in use fails only inside a run.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

# Paths of KFP's launcher, Kubernetes and the container image.
RESERVED_PATHS = (
    *("/minio", "/s3", "/gcs", "/oci", "/kfp", "/kfp-launcher", "/kfp-workspace"),
    *("/.local", "/.cache", "/.config", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64"),
    *("/opt", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp", "/usr", "/var"),
)

# Volumes that KFP and Argo add to a pod; the volume of a claim has the claim's name.
RESERVED_CLAIMS = (
    *("kfp-launcher", "gcs-scratch", "s3-scratch", "minio-scratch", "dot-local-scratch", "dot-cache-scratch"),
    *("dot-config-scratch", "ca-bundle", "custom-ca", "kfp-workspace", "shared-memory", "var-run-argo"),
    *("tmp-dir-argo", "argo-env-config", "mlpipeline-minio-artifact"),
)

HIDES_GPUS = "CUDA_VISIBLE_DEVICES"

# Variables that the container image, KFP's launcher and the compiler set.
RESERVED_VARIABLES = (
    *(HIDES_GPUS, "HOME", "LD_LIBRARY_PATH", "LD_PRELOAD", "PATH", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV"),
)
RESERVED_PREFIXES = ("CATSDOGS_", "KFP_")


def _mount_path(text: str) -> str:
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or ":" in text or str(path) != text or path.name == "":
        raise ValueError(f"{text!r} is not a mount path: it must be absolute, such as /state or /mnt/state")
    for reserved in map(PurePosixPath, RESERVED_PATHS):
        if path.is_relative_to(reserved) or reserved.is_relative_to(path):
            raise ValueError(
                f"{text!r} is reserved: the container uses {reserved}; mount the volume elsewhere, for "
                "example at /state"
            )
    return text


def _claim(name: str) -> str:
    if "." in name:  # KFP names the pod's volume after the claim
        raise ValueError(f"{name!r} cannot be mounted by KFP: the name of a claim must not contain a dot")
    if name in RESERVED_CLAIMS:
        raise ValueError(
            f"{name!r} is reserved: each pod already has a volume of this name; rename the claim"
        )
    return name


def _variable(name: str) -> str:
    if name in RESERVED_VARIABLES or name.startswith(RESERVED_PREFIXES):
        raise ValueError(f"{name!r} is reserved: the pipeline sets it in each pod; use another variable")
    return name


MountPath = Annotated[str, AfterValidator(_mount_path)]
ClaimName = Annotated[str, AfterValidator(_claim)]
EnvironmentName = Annotated[str, AfterValidator(_variable)]
