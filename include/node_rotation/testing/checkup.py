"""What a check-up asks, answered by a world in memory: denials, addresses and quotas are set by the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from node_rotation.checkup.rights import LAUNCHES, Answer, Quota, Right, Subnet
from node_rotation.configuration.intake_policy import ObjectRef
from node_rotation.errors import RotationError
from node_rotation.world.aws import ScalingGroup

VCPUS = 2


@dataclass
class MemoryAccount:
    """An AWS account that allows everything and has room, until told otherwise.

    :param denied: actions that IAM denies.
    :param untold: actions that nobody tells about.
    :param free: addresses of each of the two subnets.
    :param limit: vCPUs that may run; None: Service Quotas refuses.
    :param refused: raised by every question, as with credentials that ended.
    """

    denied: set[str] = field(default_factory=set)
    untold: set[str] = field(default_factory=set)
    free: tuple[int, int] = (100, 100)
    limit: float | None = 256.0
    used: int = 12
    refused: RotationError | None = None

    def identity(self) -> str:
        """A role's ARN."""
        if self.refused:
            raise self.refused
        return "arn:aws:iam::123456789012:role/node-rotation"

    def may(self, actions: Sequence[str], group: ScalingGroup) -> Mapping[str, Answer]:
        """As the two sets say."""
        return self._answers(actions)

    def may_launch(self, group: ScalingGroup) -> Mapping[str, Answer]:
        """As the two sets say."""
        return self._answers(tuple(LAUNCHES))

    def may_update(self, actions: Sequence[str], cluster: str, nodegroup: str) -> Mapping[str, Answer]:
        """As the two sets say."""
        return self._answers(actions)

    def may_record(self, actions: Sequence[str], path: str) -> Mapping[str, Answer]:
        """As the two sets say."""
        return self._answers(actions)

    def subnets(self, group: str) -> tuple[Subnet, ...]:
        """Two subnets in two zones."""
        return (Subnet("subnet-a", "eu-central-1a", self.free[0]), Subnet("subnet-b", "eu-central-1b", self.free[1]))

    def vcpus(self, instance_types: Sequence[str]) -> Mapping[str, int]:
        """The same for every type."""
        return dict.fromkeys(instance_types, VCPUS)

    def quota(self, instance_type: str) -> Quota:
        """One quota for all types."""
        return Quota("Running On-Demand Standard instances (vCPUs)", self.limit, self.used, "AccessDenied")

    def _answers(self, actions: Sequence[str]) -> Mapping[str, Answer]:
        return {
            action: Answer.DENIED
            if action in self.denied
            else Answer.UNKNOWN
            if action in self.untold
            else Answer.ALLOWED
            for action in actions
        }


@dataclass
class MemoryAccess:
    """An API server that grants everything but what is denied, each as ``verb resource``."""

    denied: set[str] = field(default_factory=set)

    def may(self, right: Right) -> Answer:
        """As the set says."""
        return Answer.DENIED if f"{right.verb} {right.resource}" in self.denied else Answer.ALLOWED

    def right_to_patch(self, ref: ObjectRef) -> Right:
        """Every kind is known, by its name with an s; ConfigMaps and Secrets are all that tests need."""
        return Right("patch", f"{ref.kind.lower()}s", namespace=ref.namespace or "default", name=ref.name)
