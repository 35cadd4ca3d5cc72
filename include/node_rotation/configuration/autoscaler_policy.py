"""What a rotation does with the cluster-autoscaler beside keeping it off the machines it works on."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from node_rotation.configuration.durations import Duration
from node_rotation.configuration.intake_policy import IntakePolicy, KubernetesIntake, ObjectRef
from node_rotation.model import Value
from node_rotation.names import REPLICAS


class AutoscalerPolicy(Value):
    """The cluster-autoscaler's Deployment, and whether it is paused while the cluster rotates."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"pause": True}]})

    pause: bool = Field(default=False, description="scaled to 0 for the run, then to what it was")
    namespace: str = Field(default="kube-system", description="of its Deployment")
    deployment: str = Field(default="cluster-autoscaler", description="the name of its Deployment")
    timeout: Duration = Field(default=300.0, gt=0, description="so long refusals and silence are tried again")

    @property
    def object(self) -> ObjectRef:
        """Its Deployment."""
        return ObjectRef(api_version="apps/v1", kind="Deployment", namespace=self.namespace, name=self.deployment)

    def pausing(self, replicas: int) -> IntakePolicy:
        """How it is paused, and started again; while it is paused its Deployment says what it had.

        :param replicas: how many it has now.
        """
        how = KubernetesIntake(**self.object.model_dump(), close=scaled(0, str(replicas)), open=scaled(replicas, None))
        return IntakePolicy(kubernetes=how, timeout=self.timeout)


def scaled(replicas: int, before: str | None) -> dict[str, Any]:
    """A patch of its Deployment.

    :param before: what it had before it was paused; None takes that away.
    """
    return {**remembering(before), "spec": {"replicas": replicas}}


def remembering(before: str | None) -> dict[str, Any]:
    """As :func:`scaled`, of the annotation alone."""
    return {"metadata": {"annotations": {REPLICAS: before}}}
