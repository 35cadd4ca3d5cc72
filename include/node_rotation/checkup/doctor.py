"""Findings of a check-up before the night: what is wrong, with which object, what to do. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from node_rotation.checkup.rights import Answer, Quota, Right, Subnet, see_to_the_tag
from node_rotation.checkup.room import Need, at_most, fewer, on_top
from node_rotation.drift import PROVIDER_ID, foreign_provisioner, gone, lost, named, strangers
from node_rotation.errors import BadInputError, BlockedError, RotationError, TransientError
from node_rotation.model import (
    Blocker,
    DriftedMachine,
    DriftReason,
    GroupDrift,
    GroupPlan,
    Image,
    ImageStep,
    Plan,
    Target,
    TemplateVersion,
    Value,
)
from node_rotation.outcome import Blocked
from node_rotation.policy import Policy
from node_rotation.world.aws import LEFT_ALONE, ScalingGroup
from node_rotation.world.snapshot import Snapshot


class Check(StrEnum):
    """What a finding is about."""

    CREDENTIALS = "credentials"
    PERMISSIONS = "permissions"
    DISCOVERY = "discovery"
    ROTATION = "rotation"
    DISRUPTION_BUDGETS = "disruption budgets"
    PODS = "pods"
    INTAKE = "intake"
    IMAGE_STEP = "image step"
    SUBNETS = "subnets"
    QUOTAS = "quotas"
    NOTIFICATIONS = "notifications"


class Severity(StrEnum):
    """What a finding means for the night."""

    BLOCKING = "blocking"
    WARNING = "warning"
    UNKNOWN = "unknown"
    """It could not be looked at, so nobody knows."""


class Finding(Value):
    """One thing that is not as a rotation needs it.

    :param cluster: ``environment.cluster``.
    """

    cluster: str
    check: Check
    severity: Severity
    what: str
    object: str
    remedy: str


def failed(
    cluster: str, check: Check, what: str, error: RotationError, severity: Severity = Severity.BLOCKING
) -> Finding:
    """A look that ended in an error.

    :param what: the object that was looked at.
    """
    if isinstance(error, BlockedError):
        found = error.blocked
        named = ", ".join(found.objects) or what
        return _finding(cluster, check, severity, found.reason, named, found.remedy)
    if isinstance(error, BadInputError):
        return _finding(cluster, check, severity, error.problem, error.where, error.remedy)
    passing = isinstance(error, TransientError)
    remedy = "See whether it answers again, then ask once more." if passing else "Correct what the message names."
    return _finding(cluster, check, severity, str(error), what, remedy)


def receiver(cluster: str, connection: str, known: Answer, *, beside: bool) -> Iterator[Finding]:
    """A receiver of messages that Airflow would not find; a rotation goes on without it.

    :param connection: its Airflow connection.
    :param beside: the command line has an address of it, so that Airflow may have nothing to do with it.
    """
    what = f"connection {connection}"
    if known is Answer.DENIED:
        said = f"the Airflow that is installed here finds no {what}"
        remedy = "Add it to Airflow as an HTTP connection, or run doctor with the environment that your Airflow has."
        yield _finding(cluster, Check.NOTIFICATIONS, Severity.WARNING, said, what, remedy)
    elif known is Answer.UNKNOWN and not beside:
        said = f"can't find out whether Airflow has {what}"
        remedy = "Run doctor where Airflow runs, with its environment, or see: airflow connections get."
        yield _finding(cluster, Check.NOTIFICATIONS, Severity.UNKNOWN, said, what, remedy)


def unaddressed(cluster: str, why: Blocked) -> Finding:
    """A receiver of messages that the command line can't send to.

    :param why: what its address lacks.
    """
    named = ", ".join(why.objects)
    return _finding(cluster, Check.NOTIFICATIONS, Severity.WARNING, why.reason, named, why.remedy)


def unexpected(cluster: str, what: str, error: Exception) -> Finding:
    """A look that ended in a defect of ours.

    :param what: the object that was looked at.
    """
    said = f"unexpected {type(error).__name__}: {error}"
    remedy = "Please report it, with what --debug shows for a single command on this cluster."
    return _finding(cluster, Check.DISCOVERY, Severity.BLOCKING, said, what, remedy)


def kubernetes_rights(
    cluster: str, answers: Mapping[Right, Answer], remedy: str = "Apply docs/rbac.yaml and bind it to this identity."
) -> Iterator[Finding]:
    """Rights that the API server does not give us."""
    for right, answer in answers.items():
        if answer is not Answer.ALLOWED:
            said = "may not" if answer is Answer.DENIED else "can't find out whether it may"
            severity = Severity.BLOCKING if answer is Answer.DENIED else Severity.UNKNOWN
            object_ = f"{right.verb} {right.resource}"
            yield _finding(cluster, Check.PERMISSIONS, severity, f"{said} {right}", object_, remedy)


def _allow(denied: Sequence[str]) -> str:
    return f"Allow it in the IAM policy, see docs/iam-policy.json{see_to_the_tag(denied)}."


def aws_rights(
    cluster: str,
    what_for: str,
    answers: Mapping[str, Answer],
    severity: Severity = Severity.BLOCKING,
    remedy: Callable[[Sequence[str]], str] = _allow,
) -> Iterator[Finding]:
    """Rights that IAM does not give us, one finding for those that are denied and one for those nobody told us.

    :param what_for: the object that they are for.
    :param severity: of what is denied.
    :param remedy: what to do about the actions that are denied.
    """
    denied = sorted(action for action, answer in answers.items() if answer is Answer.DENIED)
    if denied:
        what = f"may not {', '.join(denied)}"
        yield _finding(cluster, Check.PERMISSIONS, severity, what, what_for, remedy(denied))
    unknown = sorted(action for action, answer in answers.items() if answer is Answer.UNKNOWN)
    if unknown:
        what = f"can't find out without changing something whether it may {', '.join(unknown)}"
        profile = " and iam:GetInstanceProfile" if "iam:PassRole" in unknown else ""
        told_by = f"Allow iam:SimulatePrincipalPolicy on our own role{profile}, or look at its policy."
        yield _finding(cluster, Check.PERMISSIONS, Severity.UNKNOWN, what, what_for, told_by)


def halves(cluster: str, snapshot: Snapshot, asgs: Iterable[str]) -> Iterator[Finding]:
    """Machines without a Node, and Nodes that no machine of the fleet is behind.

    :param asgs: the Auto Scaling groups of the fleet.
    """
    joined = {node.instance_id for node in snapshot.nodes if node.instance_id}
    for asg in asgs:
        for member in snapshot.groups[asg].members:
            if member.lifecycle == "InService" and member.instance_id not in joined:
                what, remedy = "has no Node", "Look at its kubelet's log; a rotation replaces it first."
                object_ = f"machine {member.instance_id} of {asg}"
                yield _finding(cluster, Check.DISCOVERY, Severity.WARNING, what, object_, remedy)
    for node in snapshot.nodes:
        if foreign_provisioner(node):
            continue
        if not node.instance_id:
            what = f"names no EC2 instance (providerID {node.provider_id or 'is missing'})"
            remedy = f"{PROVIDER_ID} Until then the node is left alone."
            yield _finding(cluster, Check.DISCOVERY, Severity.WARNING, what, f"node {node.name}", remedy)
    yield from _strays(cluster, snapshot)


def _strays(cluster: str, snapshot: Snapshot) -> Iterator[Finding]:
    """Nodes that no rotation replaces, those of one Auto Scaling group as one finding."""
    for asg, nodes in strangers(snapshot).items():
        what = "is in no group of the fleet file" if asg else "is in no Auto Scaling group"
        object_ = f"{named(nodes)} of Auto Scaling group {asg}" if asg else named(nodes)
        to_do = "Add it to the fleet file" if asg else "Put an Auto Scaling group in its place"
        remedy = f"{to_do}, or leave it alone on purpose."
        yield _finding(cluster, Check.DISCOVERY, Severity.WARNING, what, object_, remedy)
    if nodes := lost(snapshot):
        remedy = "Remove what is left of it (kubectl delete node), or correct region and account of the cluster."
        yield _finding(cluster, Check.DISCOVERY, Severity.WARNING, gone(nodes), named(nodes), remedy)


def all_drifted(drift: GroupDrift, snapshot: Snapshot, policy: Policy, now: float) -> GroupDrift:
    """The group as it would be if a new image came tonight: every machine is to be replaced.

    Where no image may be rolled out yet, it is examined as if for the one that most of its machines run. An image that
    the rotation itself would put into the template is not there yet, nor in overrides that bring a template of their
    own.

    :param policy: of the group.
    :param now: epoch seconds.
    """
    nodes = {node.instance_id: node for node in snapshot.nodes if node.instance_id}
    machines = []
    for member in snapshot.groups[drift.asg].members:
        instance, node = snapshot.instances.get(member.instance_id), nodes.get(member.instance_id)
        if instance is not None and not member.lifecycle.startswith(LEFT_ALONE):
            machines.append(
                DriftedMachine(
                    instance_id=instance.id,
                    node=node.name if node else None,
                    zone=member.zone,
                    image_id=instance.image_id,
                    age_s=max(0.0, now - instance.launched_at),
                    ready=node is not None and node.ready,
                    pods=len(snapshot.pods_on(node.name)) if node else 0,
                    reasons=(DriftReason.MARKED,),
                )
            )
    target, blockers = drift.target or _assumed(machines, snapshot.groups[drift.asg], now), drift.blockers
    if target is not None and drift.asg not in snapshot.managed and _puts_image(policy):
        target = target.model_copy(update={"template": None, "based_on": target.template or target.based_on})
        blockers = (*blockers, *_own_templates(drift, snapshot.groups[drift.asg]))
    return drift.model_copy(update={"drifted": tuple(machines), "target": target, "blockers": blockers})


def _puts_image(policy: Policy) -> bool:
    """Whether the next image comes from elsewhere, and the rotation puts it into the template."""
    return policy.image_step is ImageStep.LAUNCH_TEMPLATE and bool(policy.image.ssm or policy.image.name)


def _own_templates(drift: GroupDrift, scaling: ScalingGroup) -> Iterator[Blocker]:
    """Overrides that the next image does not reach, but those that stand in the way of today's already."""
    named = {object_.rpartition(":")[0] for blocker in drift.blockers for object_ in blocker.objects}
    for spec in dict.fromkeys(spec for spec in scaling.overrides if spec is not None):
        what = f"template {spec.name or spec.id}"
        if what not in named:
            yield Blocker(
                reason=f"an override of group {drift.group} launches from its own {what}, version {spec.version}: the "
                "image step does not put the next image into it",
                objects=(f"group {drift.group}", what),
                remedy="let the override use the group's template, or set image_step: external in the fleet file and "
                "put each image into both yourself",
            )


def _assumed(machines: Sequence[DriftedMachine], scaling: ScalingGroup, now: float) -> Target | None:
    """Stands in for a target that there is not: nobody rolls it out, the group's own template counts as its."""
    running = Counter(machine.image_id for machine in machines)
    if not running:
        return None
    ((image_id, _),) = running.most_common(1)
    image = Image(id=image_id, name=image_id, owner="", created=datetime.fromtimestamp(now, UTC))
    spec = scaling.template
    template = TemplateVersion(name=spec.name, id=spec.id, version=spec.version)
    return Target(image=image, template=template, source="what most machines run")


def obstacles(cluster: str, plan: Plan) -> Iterator[Finding]:
    """What would block a rotation of every machine: budgets, sizes, PDBs that can never allow, pods, other actors.

    An image that still soaks is a warning: nothing is broken, and it passes by itself.
    """
    for blocker in plan.blockers:
        named = ", ".join(blocker.objects) or cluster
        severity = Severity.WARNING if blocker.held_back else Severity.BLOCKING
        yield _finding(cluster, _about(blocker), severity, blocker.reason, named, blocker.remedy)


def subnets(
    cluster: str, found: Mapping[str, Sequence[Subnet]], groups: Sequence[GroupPlan], slots: int
) -> Iterator[Finding]:
    """Whether the machines on top find addresses, those of all groups that share subnets.

    Auto Scaling spreads launches over the subnets' zones; without an address a launch fails
    (Auto Scaling user guide, "Troubleshoot EC2 instance launch failures").

    :param found: group → its subnets, of those that could be asked for.
    :param groups: the plan's.
    :param slots: of the cluster.
    """
    takers = [group for group in groups if found.get(group.name) and on_top(group)]
    known = {subnet.id: subnet for group in takers for subnet in found[group.name]}
    ids = {group.name: frozenset(subnet.id for subnet in found[group.name]) for group in takers}
    full: set[str] = set()
    for among in dict.fromkeys(ids.values()):
        sharing = [group for group in takers if ids[group.name] <= among]
        free, more = sum(known[id_].free for id_ in among), at_most(map(Need, sharing), slots)
        if free < more:
            full |= among
            what = f"{free} free addresses for {more} machines at once"
            object_ = f"{_named(sharing)}: {', '.join(f'subnet {id_}' for id_ in known if id_ in among)}"
            remedy = f"Free addresses, add a subnet, or {fewer(sharing)}."
            yield _finding(cluster, Check.SUBNETS, Severity.BLOCKING, what, object_, remedy)
    for subnet in (s for s in known.values() if s.id not in full):
        users = [group for group in takers if subnet.id in ids[group.name]]
        share = sum(math.ceil(on_top(group) / len(ids[group.name])) for group in users)
        share = min(share, at_most(map(Need, users), slots))
        if subnet.free < share:
            what = f"{subnet.free} free addresses in {subnet.zone}, {share} may be needed at once"
            remedy = "Free addresses there, or expect its zone to be passed over."
            object_ = f"{_named(users)}: subnet {subnet.id}"
            yield _finding(cluster, Check.SUBNETS, Severity.WARNING, what, object_, remedy)


def quotas(cluster: str, needed: Mapping[Quota, Sequence[Need]], slots: int) -> Iterator[Finding]:
    """Whether the machines on top fit below the account's quotas of running On-Demand vCPUs.

    :param needed: quota → the groups that launch below it, with the vCPUs of each machine.
    :param slots: of the cluster.
    """
    for quota, needs in needed.items():
        more = at_most(needs, slots)
        if quota.limit is None:
            remedy = "Allow servicequotas:GetServiceQuota, or look into the Service Quotas console."
            what = f"can't be read: {quota.why}"
            yield _finding(cluster, Check.QUOTAS, Severity.UNKNOWN, what, f"quota {quota.name}", remedy)
        elif more and quota.used + more > quota.limit:
            what = f"{quota.used} of {quota.limit:.0f} vCPUs run already, a rotation needs {more} more"
            remedy = f"Ask for a higher quota, or {fewer([need.group for need in needs if need.whole])}."
            yield _finding(cluster, Check.QUOTAS, Severity.BLOCKING, what, f"quota {quota.name}", remedy)


def _named(groups: Sequence[GroupPlan]) -> str:
    return ", ".join(f"group {group.name}" for group in groups)


def types_of(group: ScalingGroup) -> tuple[str, ...]:
    """The instance types that a group runs or may launch."""
    found = (*group.instance_types, *(m.instance_type for m in group.members))
    return tuple(sorted({instance_type for instance_type in found if instance_type}))


def _about(blocker: Blocker) -> Check:
    kinds = {name.split(" ")[0] for name in blocker.objects}
    if "pdb" in kinds:
        return Check.DISRUPTION_BUDGETS
    return Check.PODS if "pod" in kinds else Check.ROTATION


def _finding(cluster: str, check: Check, severity: Severity, what: str, object_: str, remedy: str) -> Finding:
    return Finding(cluster=cluster, check=check, severity=severity, what=what, object=object_, remedy=_sentence(remedy))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if not text or text.endswith(".") else ".")
