"""Every AMI type of EKS: where its newest image is named, and what its releases are called."""

from __future__ import annotations

import boto3
import pytest

from node_rotation.managed.ami_types import AMI_TYPES
from node_rotation.managed.nodegroup import CUSTOM

EKS, BOTTLEROCKET = "/aws/service/eks/optimized-ami", "/aws/service/bottlerocket"
WINDOWS = "/aws/service/ami-windows-latest"
FULL = "Windows_Server-2025-English-Full-EKS_Optimized-1.36-"


def test_every_type_of_the_api_is_known() -> None:
    model = boto3.client("eks", region_name="eu-central-1").meta.service_model
    assert set(model.shape_for("AMITypes").enum) - {CUSTOM} == set(AMI_TYPES)


@pytest.mark.parametrize(
    ("ami_type", "parameter", "name", "architecture"),
    [
        (
            "AL2023_x86_64_STANDARD",
            f"{EKS}/1.36/amazon-linux-2023/x86_64/standard/recommended/image_id",
            "amazon-eks-node-al2023-x86_64-standard-1.36-v*",
            "x86_64",
        ),
        (
            "AL2023_ARM_64_NVIDIA",
            f"{EKS}/1.36/amazon-linux-2023/arm64/nvidia/recommended/image_id",
            "amazon-eks-node-al2023-arm64-nvidia-1.36-v*",
            "arm64",
        ),
        (
            "AL2_x86_64_GPU",
            f"{EKS}/1.36/amazon-linux-2-gpu/recommended/image_id",
            "amazon-eks-gpu-node-1.36-v*",
            "x86_64",
        ),
        (
            "BOTTLEROCKET_ARM_64_NVIDIA",
            f"{BOTTLEROCKET}/aws-k8s-1.36-nvidia/arm64/latest/image_id",
            "bottlerocket-aws-k8s-1.36-nvidia-aarch64-v*",
            "arm64",
        ),
        (
            "WINDOWS_CORE_2022_x86_64",
            f"{WINDOWS}/Windows_Server-2022-English-Core-EKS_Optimized-1.36/image_id",
            "Windows_Server-2022-English-Core-EKS_Optimized-1.36-*",
            "x86_64",
        ),
    ],
)
def test_where_aws_names_the_newest_image(ami_type: str, parameter: str, name: str, architecture: str) -> None:
    known = AMI_TYPES[ami_type]
    assert (known.parameter("1.36"), known.image_name("1.36"), known.architecture) == (parameter, name, architecture)


@pytest.mark.parametrize(
    ("ami_type", "release", "name"),
    [
        ("AL2023_x86_64_STANDARD", "1.36.2-20261108", "amazon-eks-node-al2023-x86_64-standard-1.36-v20261108"),
        ("BOTTLEROCKET_x86_64", "1.50.0-a1b2c3d4", "bottlerocket-aws-k8s-1.36-x86_64-v1.50.0-a1b2c3d4"),
        (
            "WINDOWS_FULL_2025_x86_64",
            "1.36-2026.11.08",
            f"{FULL}2026.11.08",
        ),
    ],
)
def test_a_release_and_its_image_name_each_other(ami_type: str, release: str, name: str) -> None:
    known = AMI_TYPES[ami_type]
    assert known.image_name("1.36", release) == name
    if not known.releases:  # Amazon Linux' Kubernetes patch is in no image's name, AWS has a parameter for it
        assert known.release_in("1.36", name) == release


def test_an_image_of_another_type_or_version_has_no_release() -> None:
    known = AMI_TYPES["BOTTLEROCKET_x86_64"]
    assert known.release_in("1.36", "bottlerocket-aws-k8s-1.35-x86_64-v1.50.0-a1b2c3d4") == ""
