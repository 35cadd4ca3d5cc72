"""How an image gets into a template that another tool owns: by that tool's command, or by a pod."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from node_rotation.configuration.durations import Duration
from node_rotation.model import Value


class ImageCommand(Value):
    """A program of this machine: kops, terraform, a script. Never a shell: what is in ``argv`` is what runs."""

    argv: tuple[str, ...] = Field(
        min_length=1, examples=[["./set-image.sh"]], description="the program and its arguments, as a list"
    )
    directory: str | None = Field(
        default=None, examples=["/srv/clusters"], description="where it runs; environment variables and ~ are expanded"
    )
    environment: dict[str, str] = Field(
        default={}, examples=[{"KOPS_STATE_STORE": "s3://state"}], description="added to the process's own; no secrets"
    )
    timeout: Duration = Field(default=1800.0, gt=0, description="after this it is ended and the group is blocked")


class ImagePod(Value):
    """A pod on the cluster; each of its containers is given the same variables as a command."""

    namespace: str = Field(default="default", description="where the pod runs")
    spec: dict[str, Any] = Field(
        examples=[{"containers": [{"name": "image", "image": "kops-image:1"}]}],
        description="a PodSpec; restartPolicy is Never unless it says OnFailure",
    )
    timeout: Duration = Field(default=1800.0, gt=0, description="after this it is removed and the group is blocked")

    @field_validator("spec")
    @classmethod
    def _has_containers(cls, spec: dict[str, Any]) -> dict[str, Any]:
        containers = spec.get("containers")
        if not isinstance(containers, list) or not all(isinstance(c, dict) and c.get("image") for c in containers):
            raise ValueError("a pod needs containers, a list of which each has name and image")
        if not containers:
            raise ValueError("a pod needs at least one container")
        if spec.get("restartPolicy") == "Always":
            raise ValueError("a pod with restartPolicy Always never ends: leave it out")
        return spec
