"""What a pod has already: paths, volumes and variables that settings may not take.

Kubernetes itself says which names are none; what takes the place of something else fails inside a run.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

# What KFP's launcher, Kubernetes and the image itself have in a container.
RESERVED_PATHS = (
    *("/minio", "/s3", "/gcs", "/oci", "/kfp", "/kfp-launcher", "/kfp-workspace"),
    *("/.local", "/.cache", "/.config", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64"),
    *("/opt", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp", "/usr", "/var"),
)

# The pod's other volumes, KFP's and Argo's; a claim's volume is named after the claim.
RESERVED_CLAIMS = (
    *("kfp-launcher", "gcs-scratch", "s3-scratch", "minio-scratch", "dot-local-scratch", "dot-cache-scratch"),
    *("dot-config-scratch", "ca-bundle", "custom-ca", "kfp-workspace", "shared-memory", "var-run-argo"),
    "tmp-dir-argo",
)

HIDES_GPUS = "CUDA_VISIBLE_DEVICES"

# What the image, KFP's launcher and the compiler set themselves.
RESERVED_VARIABLES = (
    *(HIDES_GPUS, "HOME", "LD_LIBRARY_PATH", "LD_PRELOAD", "PATH", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV"),
)
RESERVED_PREFIXES = ("CATSDOGS_", "KFP_")


def _mount_path(text: str) -> str:
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or ":" in text or str(path) != text or path.name == "":
        raise ValueError(f"{text!r} is not a path to mount a volume at: it must be like /state or /mnt/state")
    for reserved in map(PurePosixPath, RESERVED_PATHS):
        if path.is_relative_to(reserved) or reserved.is_relative_to(path):
            raise ValueError(
                f"{text!r} is taken: {reserved} belongs to the container; mount the volume elsewhere, for "
                "example at /state"
            )
    return text


def _claim(name: str) -> str:
    if "." in name:  # KFP gives the claim's name to the pod's volume
        raise ValueError(f"{name!r} is no claim that KFP can mount: its name must not have a dot")
    if name in RESERVED_CLAIMS:
        raise ValueError(
            f"{name!r} is taken: KFP has a volume of that name in each pod; name the claim otherwise"
        )
    return name


def _variable(name: str) -> str:
    if name in RESERVED_VARIABLES or name.startswith(RESERVED_PREFIXES):
        raise ValueError(f"{name!r} is taken: steps are set up with it; name the variable otherwise")
    return name


MountPath = Annotated[str, AfterValidator(_mount_path)]
ClaimName = Annotated[str, AfterValidator(_claim)]
EnvironmentName = Annotated[str, AfterValidator(_variable)]
