"""Look at a cluster before the night: asks everything, changes nothing, and goes on after a look that failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from node_rotation.checkup import doctor, outside
from node_rotation.checkup import rights as checkup
from node_rotation.checkup.doctor import Check, Finding, Severity
from node_rotation.checkup.rights import Access, Account, Answer, Quota, Right, Subnet
from node_rotation.checkup.room import Need
from node_rotation.clearance import freeze
from node_rotation.detect import asg_name, detect, observe
from node_rotation.errors import BadInputError, RotationError
from node_rotation.fleet import NodeGroup, Settings
from node_rotation.managed.nodegroup import CUSTOM
from node_rotation.managed.target import launched_from
from node_rotation.model import GroupPlan, ImageStep, Kind, Plan
from node_rotation.outside import Outside
from node_rotation.planning import make_plan
from node_rotation.world.aws import ScalingGroup
from node_rotation.world.clients import Clock, Cloud, Cluster
from node_rotation.world.snapshot import Snapshot

Answered = TypeVar("Answered")


@dataclass(frozen=True, slots=True)
class Patient:
    """A cluster with all that can be asked of it.

    :param cluster: None if its API server can't be reached: AWS is asked alone.
    :param access: goes with it.
    :param outside: what rotations from this machine have besides; None: it is not asked.
    """

    settings: Settings
    cloud: Cloud
    cluster: Cluster | None
    account: Account
    access: Access | None
    clock: Clock
    outside: Outside | None = None


def examine(patient: Patient) -> tuple[Finding, ...]:
    """Every finding of one cluster: credentials, permissions, discovery, budgets, pods, subnets, quotas."""
    examination = _Examination(patient)
    examination.everything()
    return tuple(dict.fromkeys(examination.found))


@dataclass(slots=True)
class _Examination:
    patient: Patient
    found: list[Finding] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.patient.settings.name

    def everything(self) -> None:
        region = self.patient.settings.cluster.aws.region
        identity = self._tried(Check.CREDENTIALS, f"AWS account in {region}", self.patient.account.identity)
        cluster = self._answers()
        if self.patient.access is not None and cluster is not None:
            self._kubernetes_rights(self.patient.access)
            self._image_pod_rights(self.patient.access)
            self._intake_right(self.patient.access)
        if self.patient.outside is not None:
            self.found += outside.findings(self.patient.settings, self.patient.outside)
        groups = self._groups() if identity is not None else {}
        if identity is not None:
            self._freeze_rights()
            for group in self.patient.settings.cluster.groups:
                self._aws_rights(group, groups.get(group.name))
        if groups and cluster is not None:
            some = self.patient.settings.only(groups=list(groups))
            settings = some.model_copy(update={"beside": ()})  # what is not there can't be looked at either
            ask = partial(observe, settings, self.patient.cloud, cluster, self.patient.clock)
            snapshot = self._tried(Check.DISCOVERY, f"cluster {self.name}", ask)
            if snapshot is not None:
                self._world(settings, cluster, snapshot, groups)

    def _answers(self) -> Cluster | None:
        """The cluster, if its API server answers."""
        cluster = self.patient.cluster
        if cluster is None or self._tried(Check.CREDENTIALS, "API server", cluster.minor_version) is None:
            return None
        return cluster

    def _tried(self, check: Check, what: str, call: Callable[[], Answered]) -> Answered | None:
        try:
            return call()
        except RotationError as error:
            self.found.append(doctor.failed(self.name, check, what, error))
            return None

    def _kubernetes_rights(self, access: Access) -> None:
        rights = list(checkup.KUBERNETES_RIGHTS)
        if any(policy.drain.force_after is not None for policy in self.patient.settings.groups.values()):
            rights += checkup.FORCE_RIGHTS
        if any(policy.drain.roll_single_replicas for policy in self.patient.settings.groups.values()):
            rights += checkup.ROLL_RIGHTS
        if self.patient.settings.policy.autoscaler.pause:
            rights += checkup.autoscaler_rights(self.patient.settings.policy.autoscaler)
        for right in rights:
            self._ask(access, right)

    def _ask(self, access: Access, right: Right, *remedy: str) -> None:
        answer = self._tried(Check.PERMISSIONS, str(right), partial(access.may, right))
        if answer is not None:
            self.found += doctor.kubernetes_rights(self.name, {right: answer}, *remedy)

    def _image_pod_rights(self, access: Access) -> None:
        policies = [p for p in self.patient.settings.groups.values() if p.image_step is ImageStep.POD and p.image_pod]
        for namespace in sorted({policy.image_pod.namespace for policy in policies if policy.image_pod}):
            for right in checkup.pod_rights(namespace):
                self._ask(access, right, "Grant it to this identity in that namespace, see docs/image-steps.md.")

    def _intake_right(self, access: Access) -> None:
        intake = self.patient.settings.policy.intake
        if intake is None or intake.kubernetes is None:
            return
        what = f"intake {intake.kubernetes}"
        right = self._tried(Check.INTAKE, what, partial(access.right_to_patch, intake.kubernetes))
        if right is not None:
            self._ask(access, right, "Grant it to this identity, see docs/intake.md.")

    def _groups(self) -> Mapping[str, ScalingGroup]:
        """Node group → its Auto Scaling group, for those that are there."""
        found = {}
        for group in self.patient.settings.cluster.groups:
            scaling = self._tried(Check.DISCOVERY, f"group {group.name}", partial(self._group, group))
            if scaling is not None:
                found[group.name] = scaling
        return found

    def _group(self, group: NodeGroup) -> ScalingGroup:
        settings, cloud = self.patient.settings, self.patient.cloud
        asg = asg_name(group, settings, cloud)
        found = cloud.groups([asg]).get(asg)
        if found is None:
            problem = f"there is no Auto Scaling group {asg!r} in {settings.cluster.aws.region}"
            raise BadInputError(f"group {group.name}", problem, "Correct its asg, or the region and account.")
        return found

    def _aws_rights(self, group: NodeGroup, scaling: ScalingGroup | None) -> None:
        """EKS' also where they are what keeps a managed group from being found."""
        account, what_for, managed = self.patient.account, f"group {group.name}", group.kind is Kind.EKS_MANAGED
        answers: dict[str, Answer] = {}
        if scaling is not None:
            image_step = self.patient.settings.groups[group.name].image_step is ImageStep.LAUNCH_TEMPLATE
            actions = checkup.aws_actions(scaling, image_step=image_step, managed=managed)
            answers |= self._tried(Check.PERMISSIONS, what_for, partial(account.may, actions, scaling)) or {}
            if image_step and not managed and checkup.names_version(scaling):
                self._launch_rights(what_for, scaling)
        if managed:
            address = (group.eks_cluster or "", group.nodegroup or "")
            ask = partial(account.may_update, checkup.NODEGROUP_ACTIONS, *address)
            answers |= self._tried(Check.PERMISSIONS, what_for, ask) or {}
            if scaling is not None:
                self._managed_launch_rights(what_for, address, scaling)
        self.found += doctor.aws_rights(self.name, what_for, answers)

    def _managed_launch_rights(self, what_for: str, address: tuple[str, str], scaling: ScalingGroup) -> None:
        """EKS is told a version of its owner's template, where that brings the image; else a release alone."""
        group = self._tried(Check.PERMISSIONS, what_for, partial(self.patient.cloud.managed_group, *address))
        if group is not None and group.ami_type == CUSTOM and group.template is not None:
            self._launch_rights(what_for, launched_from(group, scaling))

    def _launch_rights(self, group: str, scaling: ScalingGroup) -> None:
        what_for = f"{group}: launch template {scaling.template.name or scaling.template.id}"
        answers = self._tried(Check.PERMISSIONS, what_for, partial(self.patient.account.may_launch, scaling)) or {}
        self.found += doctor.aws_rights(self.name, what_for, answers, remedy=checkup.allow_launches)

    def _freeze_rights(self) -> None:
        """No plan is made without the reads; an image at fault that can't be recorded is told to a person instead."""
        what_for = f"parameters {freeze.PATH}"
        severities = {checkup.FREEZE_READS: Severity.BLOCKING, checkup.FREEZE_CHANGES: Severity.WARNING}
        for actions, severity in severities.items():
            ask = partial(self.patient.account.may_record, actions, freeze.PATH)
            answers = self._tried(Check.PERMISSIONS, what_for, ask) or {}
            self.found += doctor.aws_rights(self.name, what_for, answers, severity)

    def _world(
        self, settings: Settings, cluster: Cluster, snapshot: Snapshot, groups: Mapping[str, ScalingGroup]
    ) -> None:
        self.found += doctor.halves(self.name, snapshot, [scaling.name for scaling in groups.values()])
        patient, now = self.patient, self.patient.clock.now()
        drifts = []
        for group in groups:
            ask = partial(detect, settings, group, patient.cloud, cluster, patient.clock, snapshot=snapshot)
            drift = self._tried(Check.DISCOVERY, f"group {group}", ask)
            if drift is not None:
                drifts.append(doctor.all_drifted(drift, snapshot, settings.groups[group], now))
        plan = make_plan(settings, drifts, snapshot, now, planned=tuple(groups))
        self.found += doctor.obstacles(self.name, plan)
        found = {group.name: self._subnets(group) for group in plan.groups}
        self.found += doctor.subnets(self.name, found, plan.groups, plan.slots)
        self.found += doctor.quotas(self.name, self._quotas(plan, snapshot), plan.slots)

    def _subnets(self, group: GroupPlan) -> tuple[Subnet, ...]:
        ask = partial(self.patient.account.subnets, group.asg)
        return self._tried(Check.SUBNETS, f"asg {group.asg}", ask) or ()

    def _quotas(self, plan: Plan, snapshot: Snapshot) -> Mapping[Quota, Sequence[Need]]:
        """Quota → who launches below it; a group by the largest type that it may launch."""
        account = self.patient.account
        needed: dict[Quota, list[Need]] = {}
        for group in plan.groups:
            types, what = doctor.types_of(snapshot.groups[group.asg]), f"group {group.name}"
            vcpus = self._tried(Check.QUOTAS, what, partial(account.vcpus, types)) or {}
            if not vcpus:
                continue
            largest = max(vcpus, key=lambda name: vcpus[name])
            quota = self._tried(Check.QUOTAS, what, partial(account.quota, largest))
            if quota is not None:
                needed.setdefault(quota, []).append(Need(group, vcpus[largest]))
        return needed
