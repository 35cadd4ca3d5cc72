"""EKS' AMI types: where AWS names their newest image, how their images and release versions are called.

Sources, EKS user guide: https://docs.aws.amazon.com/eks/latest/userguide/retrieve-ami-id.html,
retrieve-ami-id-bottlerocket.html, retrieve-windows-ami-id.html, and the release versions in
https://docs.aws.amazon.com/eks/latest/userguide/eks-linux-ami-versions.html; the names of the types: API reference,
Nodegroup ``amiType``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OWNER = "amazon"
RECOMMENDED = "recommended"


@dataclass(frozen=True, slots=True)
class AmiType:
    """One AMI type; ``{version}`` is the group's Kubernetes version, e.g. ``1.36``.

    :param image: the SSM parameter of the newest image's id.
    :param name: the images' name up to its build.
    :param releases: where an image's release version is a parameter of its own: its path, ``{image}`` is the
        image's name or ``recommended``; empty where the release version is in the image's name.
    """

    architecture: str
    image: str
    name: str
    releases: str = ""

    def parameter(self, version: str) -> str:
        """The SSM parameter that holds the newest image's id."""
        return self.image.format(version=version)

    def image_name(self, version: str, release: str = "*") -> str:
        """The name of the image of a release version; a filter for all of them without one.

        :param release: e.g. ``1.36.1-20261108`` (Amazon Linux), ``1.50.0-a1b2c3d4`` (Bottlerocket),
            ``1.36-2026.11.08`` (Windows).
        """
        build = release
        if self.releases:
            build = release.rpartition("-")[2]
        elif self._windows:
            build = release.removeprefix(f"{version}-")
        return self.name.format(version=version) + build

    def release_parameter(self, version: str, image: str) -> str:
        """The SSM parameter of an image's release version, or empty if :meth:`release_in` knows it.

        :param image: the image's name, or ``recommended``.
        """
        return self.releases.format(version=version, image=image)

    def release_in(self, version: str, image_name: str) -> str:
        """The release version in an image's name; empty if it is not an image of this type."""
        prefix = self.name.format(version=version)
        build = image_name.removeprefix(prefix)
        if build == image_name:
            return ""
        return f"{version}-{build}" if self._windows else build

    @property
    def _windows(self) -> bool:
        return self.name.startswith("Windows_")


def _amazon_linux(architecture: str, path: str, name: str) -> AmiType:
    base = "/aws/service/eks/optimized-ami/{version}/" + path
    return AmiType(
        architecture,
        f"{base}/{RECOMMENDED}/image_id",
        f"amazon-eks-{name}-{{version}}-v",
        base + "/{image}/release_version",
    )


def _al2023(architecture: str, variant: str) -> AmiType:
    return _amazon_linux(
        architecture, f"amazon-linux-2023/{architecture}/{variant}", f"node-al2023-{architecture}-{variant}"
    )


def _bottlerocket(architecture: str, flavour: str = "") -> AmiType:
    machine = "aarch64" if architecture == "arm64" else architecture
    return AmiType(
        architecture,
        f"/aws/service/bottlerocket/aws-k8s-{{version}}{flavour}/{architecture}/latest/image_id",
        f"bottlerocket-aws-k8s-{{version}}{flavour}-{machine}-v",
    )


def _windows(year: int, edition: str) -> AmiType:
    name = f"Windows_Server-{year}-English-{edition}-EKS_Optimized-{{version}}"
    return AmiType("x86_64", f"/aws/service/ami-windows-latest/{name}/image_id", f"{name}-")


AMI_TYPES: Mapping[str, AmiType] = {
    "AL2023_x86_64_STANDARD": _al2023("x86_64", "standard"),
    "AL2023_ARM_64_STANDARD": _al2023("arm64", "standard"),
    "AL2023_x86_64_NVIDIA": _al2023("x86_64", "nvidia"),
    "AL2023_ARM_64_NVIDIA": _al2023("arm64", "nvidia"),
    "AL2023_x86_64_NEURON": _al2023("x86_64", "neuron"),
    "AL2_x86_64": _amazon_linux("x86_64", "amazon-linux-2", "node"),
    "AL2_x86_64_GPU": _amazon_linux("x86_64", "amazon-linux-2-gpu", "gpu-node"),
    "AL2_ARM_64": _amazon_linux("arm64", "amazon-linux-2-arm64", "arm64-node"),
    "BOTTLEROCKET_x86_64": _bottlerocket("x86_64"),
    "BOTTLEROCKET_ARM_64": _bottlerocket("arm64"),
    "BOTTLEROCKET_x86_64_NVIDIA": _bottlerocket("x86_64", "-nvidia"),
    "BOTTLEROCKET_ARM_64_NVIDIA": _bottlerocket("arm64", "-nvidia"),
    "BOTTLEROCKET_x86_64_FIPS": _bottlerocket("x86_64", "-fips"),
    "BOTTLEROCKET_ARM_64_FIPS": _bottlerocket("arm64", "-fips"),
    "BOTTLEROCKET_x86_64_NVIDIA_FIPS": _bottlerocket("x86_64", "-nvidia-fips"),
    "BOTTLEROCKET_ARM_64_NVIDIA_FIPS": _bottlerocket("arm64", "-nvidia-fips"),
    "WINDOWS_CORE_2019_x86_64": _windows(2019, "Core"),
    "WINDOWS_FULL_2019_x86_64": _windows(2019, "Full"),
    "WINDOWS_CORE_2022_x86_64": _windows(2022, "Core"),
    "WINDOWS_FULL_2022_x86_64": _windows(2022, "Full"),
    "WINDOWS_CORE_2025_x86_64": _windows(2025, "Core"),
    "WINDOWS_FULL_2025_x86_64": _windows(2025, "Full"),
}
"""Every AMI type but CUSTOM, whose images come from a launch template of the user's."""
