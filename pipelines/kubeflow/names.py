"""Names that Kubernetes takes: each kind has its own rule."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"

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


def _rule(pattern: str, longest: int, what: str, expected: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(name: str) -> str:
        if len(name) > longest or not compiled.fullmatch(name):
            raise ValueError(f"{name!r} is not {what}: it must be {expected}, {longest} characters at most")
        return name

    return check


_prefix = _rule(
    rf"{_LABEL}(\.{_LABEL})*",
    253,
    "a DNS name",
    "small letters, digits, hyphens and dots, such as example.com",
)
_label_name = _rule(
    _QUALIFIED,
    63,
    "a label's name",
    "letters, digits, '-', '_' and '.', with a letter or digit at both ends",
)
_label_value = _rule(
    rf"({_QUALIFIED})?",
    63,
    "a label's value",
    "letters, digits, '-', '_' and '.', with a letter or digit at both ends",
)


def _label_key(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if slash:
        _prefix(prefix)
    _label_name(name)
    return key


def _resource(name: str) -> str:
    if "/" not in name:
        raise ValueError(
            f"{name!r} is not the name of a device: it must have a vendor's domain, such as nvidia.com/gpu"
        )
    return _label_key(name)


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
    if name in RESERVED_CLAIMS:
        raise ValueError(
            f"{name!r} is taken: KFP has a volume of that name in each pod; name the claim otherwise"
        )
    return name


def _variable(name: str) -> str:
    if name in RESERVED_VARIABLES or name.startswith(RESERVED_PREFIXES):
        raise ValueError(f"{name!r} is taken: steps are set up with it; name the variable otherwise")
    return name


_LETTERS = "small letters, digits and hyphens, with a letter or digit at both ends"

# A claim's name also becomes the volume's, which may not have dots.
ClaimName = Annotated[
    str,
    AfterValidator(_rule(_LABEL, 63, "the name of a claim that KFP can mount", _LETTERS)),
    AfterValidator(_claim),
]
SecretName = Annotated[
    str, AfterValidator(_rule(rf"{_LABEL}(\.{_LABEL})*", 253, "the name of a secret", f"dots, {_LETTERS}"))
]
SecretKey = Annotated[
    str, AfterValidator(_rule(r"[-._A-Za-z0-9]+", 253, "a secret's key", "letters, digits, '-', '_' and '.'"))
]
EnvironmentName = Annotated[
    str,
    AfterValidator(
        _rule(
            r"[A-Za-z_][A-Za-z0-9_]*",
            253,
            "the name of an environment variable",
            "letters, digits and '_', without a digit in front",
        )
    ),
    AfterValidator(_variable),
]
LabelKey = Annotated[str, AfterValidator(_label_key)]
LabelValue = Annotated[str, AfterValidator(_label_value)]
DeviceName = Annotated[str, AfterValidator(_resource)]
MountPath = Annotated[str, AfterValidator(_mount_path)]
