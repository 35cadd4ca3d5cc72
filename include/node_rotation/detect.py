"""Look at one cluster: a snapshot that all who wait share, and the drift of a node group."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from node_rotation import names
from node_rotation.clearance.answers import Answers
from node_rotation.clearance.freeze import Frozen
from node_rotation.clearance.freezes import ConnectAccount, Freezes
from node_rotation.clients import checks
from node_rotation.clients.this_machine import this_machine
from node_rotation.control_plane import endpoints
from node_rotation.control_plane.values import ControlPlane
from node_rotation.drift import drift_of
from node_rotation.errors import BadInputError, BlockedError, GoneError
from node_rotation.fleet import NodeGroup, Settings
from node_rotation.ledger import Ledger, parse
from node_rotation.managed.nodegroup import ManagedGroup
from node_rotation.managed.planning import without_asg
from node_rotation.managed.target import completed, launched_from, source_of
from node_rotation.model import Blocker, GroupDrift, Image, Kind, Plan, Role
from node_rotation.outside import Outside
from node_rotation.policy import ImageSource
from node_rotation.run import Connect, Look, Others, Run, SharedLook
from node_rotation.target import Candidates, choose
from node_rotation.workloads.gate_checks import GateCheck
from node_rotation.world.aws import Activity, Instance, Parameter, ScalingGroup, Targets, Template, TemplateSpec
from node_rotation.world.clients import Clock, Cloud, Cluster
from node_rotation.world.kubernetes import Lease, Node
from node_rotation.world.snapshot import Snapshot

ACTIVITIES_S = 3600.0  # how far back scaling activities are read for a group that is short of machines


def observe(
    settings: Settings, cloud: Cloud, cluster: Cluster, clock: Clock, planned: Mapping[str, str] | None = None
) -> Snapshot:
    """Observe a cluster: its groups, machines, orphans, nodes, pods, budgets, workloads and lock.

    Activities are read only for groups that are short of members.

    :param planned: of a run: its node groups' Auto Scaling groups by its plan. What became of other workers meanwhile
        is no reason to stop it, or to leave what a dead one left; None: every group has to be there.
    :raises BadInputError: if a group of the fleet does not exist, or two are the same.
    """
    now = clock.now()
    lease = cluster.lease()
    ledger = _ledger(lease)
    found = _found(settings, cloud, ledger, planned)
    managed = found.managed
    groups = cloud.groups(list(dict.fromkeys((*found.asgs.values(), *(planned or {}).values(), *_asgs(ledger)))))
    _all_there(settings, {name: asg for name, asg in found.asgs.items() if name not in found.spared}, groups)
    nodes = cluster.nodes()
    ids = {m.instance_id for group in groups.values() for m in group.members}
    ids |= {node.instance_id for node in nodes if node.instance_id} | _claimed(ledger)
    instances = {**_orphans(cloud, groups), **cloud.instances(sorted(ids))}
    return Snapshot(
        taken_at=now,
        groups=groups,
        instances=instances,
        nodes=nodes,
        pods=cluster.pods(),
        budgets=cluster.budgets(),
        workloads=cluster.workloads(),
        lease=lease,
        activities=_activities(cloud, groups.values(), now),
        control_plane=_control_plane(settings, cluster, nodes),
        managed={group.asg: group for group in managed.values()},
        volumes=cluster.volumes(),
        checks=checks.ask(_checks(settings)),
        targets=_targets(cloud, groups, {group.asg for group in managed.values()}),
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """Node group → its Auto Scaling group; those of ``spared`` need not exist."""

    asgs: Mapping[str, str]
    managed: Mapping[str, ManagedGroup]
    spared: Collection[str]


def _found(settings: Settings, cloud: Cloud, ledger: Ledger | None, planned: Mapping[str, str] | None) -> _Found:
    """A run's own groups are found by ledger and plan; a quorum is counted over masters as the fleet file has them."""
    begun = {name: baseline.asg for name, baseline in ledger.groups.items()} if ledger else {}
    known = {**(planned or {}), **begun}
    running = planned is not None and (bool(planned) or ledger is not None)
    asgs: dict[str, str] = {}
    managed: dict[str, ManagedGroup] = {}
    spared: set[str] = set()
    for group in settings.watched:
        ours = group.name in known
        if running and group.role is Role.WORKER:
            spared.add(group.name)
        try:
            if group.kind is Kind.EKS_MANAGED:
                eks = _managed(group, settings, cloud, ledger)
                if eks.asg:  # without one it has no machine to be looked at
                    managed[group.name], asgs[group.name] = eks, eks.asg
            elif ours and group.name in spared:
                asgs[group.name] = known[group.name]
            else:
                asgs[group.name] = asg_name(group, settings, cloud)
        except BadInputError:
            if group.name not in spared:
                raise
    return _Found(asgs, managed, spared)


def _targets(cloud: Cloud, groups: Mapping[str, ScalingGroup], managed: Collection[str]) -> Mapping[str, Targets]:
    """Asked only for target groups of groups that we roll ourselves: none, no call."""
    wanted = [arn for group in groups.values() if group.name not in managed for arn in group.target_groups]
    return cloud.targets(list(dict.fromkeys(wanted))) if wanted else {}


def _checks(settings: Settings) -> tuple[GateCheck, ...]:
    """Every group's own gate checks, each once: all who wait share one answer."""
    return tuple(dict.fromkeys(check for policy in settings.groups.values() for check in policy.gate.checks))


def _control_plane(settings: Settings, cluster: Cluster, nodes: Sequence[Node]) -> ControlPlane | None:
    """Asked only where there are masters of ours."""
    if all(group.role is not Role.CONTROL_PLANE for group in settings.cluster.groups):
        return None
    return endpoints.asked(settings.policy.control_plane, nodes, cluster.control_plane)


def asg_name(group: NodeGroup, settings: Settings, cloud: Cloud) -> str:
    """The Auto Scaling group of a node group, by name, by tags, or as EKS describes it.

    :raises BadInputError: if none, or more than one, carries the tags, or EKS does not know the group or names none.
    """
    if group.kind is Kind.EKS_MANAGED:
        eks = _managed(group, settings, cloud, None)
        if not eks.asg:
            missing = without_asg(group.name, eks)
            where, remedy = f"{settings.name}: node group {group.name}", missing.remedy.capitalize()
            raise BadInputError(where, f"{missing.reason}.", f"{remedy}.")
        return eks.asg
    if group.asg:
        return group.asg
    found = cloud.find_groups(group.asg_tags)
    if len(found) == 1:
        return found[0]
    tags = ", ".join(f"{key}={value}" for key, value in group.asg_tags.items())
    raise BadInputError(
        f"{settings.name}: node group {group.name}",
        f"{len(found)} Auto Scaling groups carry the tags {tags}{': ' if found else ''}{', '.join(found)}.",
        "Give tags that exactly one group carries, or its name as asg.",
    )


def detect(
    settings: Settings,
    group: str,
    cloud: Cloud,
    cluster: Cluster,
    clock: Clock,
    as_of: datetime | None = None,
    image: str | None = None,
    snapshot: Snapshot | None = None,
    frozen: Sequence[Frozen] = (),
) -> GroupDrift:
    """Say which machines of a node group are not what they should be, and why. Reads only.

    :param group: the node group's name in the fleet.
    :param as_of: what would have been the image then; None is now.
    :param image: an image id that overrides the policy's source.
    :param snapshot: an observation to reuse for several groups.
    :param frozen: images that nobody may roll out, from :class:`node_rotation.clearance.freezes.Freezes`.
    """
    found = next((g for g in settings.cluster.groups if g.name == group), None)
    if found is None:
        known = ", ".join(g.name for g in settings.cluster.groups)
        raise BadInputError("group", f"{settings.name} has no node group {group!r}.", f"Known: {known}.")
    seen = snapshot or observe(settings, cloud, cluster, clock)
    name = _seen_asg(found, seen)
    if not name and (missing := _unmade(found, settings, cloud)) is not None:
        return _no_target(group, missing)
    name = name or asg_name(found, settings, cloud)
    if name not in seen.groups:  # deleted since it was planned
        raise _not_there(settings, group, name)
    asg = seen.groups[name]
    managed = seen.managed.get(asg.name)
    policy = settings.groups[group]
    source = policy.image
    if image:
        source = ImageSource(id=image, architecture=source.architecture, soak=0.0)
    if managed is not None:
        meant = source_of(cloud, managed, source)
        if isinstance(meant, Blocker):
            return _no_target(group, meant, asg.name, len(asg.members))
        source = meant
    running = tuple(i.image_id for m in asg.members if (i := seen.instances.get(m.instance_id)) is not None)
    known_images = {i: found_image for i in sorted(set(running)) if (found_image := cloud.image(i)) is not None}
    launching = launched_from(managed, asg) if managed is not None else asg
    candidates, blockers = _candidates(cloud, source, launching, running, known_images)
    now = clock.now()
    moment = as_of.timestamp() if as_of is not None else None
    choice = choose(source, candidates, group=group, now=now, as_of=moment, frozen=frozen)
    if managed is not None:
        running_images = () if as_of is not None else tuple(known_images.values())
        choice = completed(cloud, managed, asg, choice, running_images)
    images = {**known_images, **{i.id: i for i in candidates.images}}
    drift = drift_of(group, asg.name, choice, seen, policy, images=images, now=now)
    return drift.model_copy(update={"blockers": (*blockers, *drift.blockers)}) if blockers else drift


def _no_target(group: str, why: Blocker, asg: str = "", machines: int = 0) -> GroupDrift:
    return GroupDrift(group=group, asg=asg, target=None, machines=machines, drifted=(), blockers=(why,))


def _unmade(group: NodeGroup, settings: Settings, cloud: Cloud) -> Blocker | None:
    """Why a managed group has no machine that could be looked at; None if it has an Auto Scaling group, or is none."""
    eks = _managed(group, settings, cloud, None) if group.kind is Kind.EKS_MANAGED else None
    return without_asg(group.name, eks) if eks is not None and not eks.asg else None


def _managed(group: NodeGroup, settings: Settings, cloud: Cloud, ledger: Ledger | None) -> ManagedGroup:
    """A managed group with its update in flight and those that the ledger's claims asked for."""
    asked = {c.update for c in ledger.claims_of(group.name) if c.update} if ledger else set()
    try:
        return cloud.managed_group(group.eks_cluster or "", group.nodegroup or "", sorted(asked))
    except GoneError as error:
        raise BadInputError(
            f"{settings.name}: node group {group.name}",
            f"there is no managed node group {group.address!r} in {settings.cluster.aws.region}.",
            "Correct its eks_cluster or nodegroup, or the region and account of the cluster.",
        ) from error


def _seen_asg(group: NodeGroup, seen: Snapshot) -> str:
    address = (group.eks_cluster, group.nodegroup)
    return next((asg for asg, found in seen.managed.items() if (found.cluster, found.name) == address), "")


def make_run(
    run_id: str,
    plan: Plan,
    settings: Settings,
    cloud: Cloud,
    cluster: Cluster,
    clock: Clock,
    look: Look | None = None,
    outside: Outside | None = None,
    others: Connect | None = None,
    accounts: ConnectAccount | None = None,
    answers: Answers | None = None,
) -> Run:
    """Everything the steps need.

    :param run_id: the lock's holder, and what residue is named after.
    :param look: a look shared with other runs of this process; made anew if None.
    :param outside: None is the network and the programs of this machine.
    :param others: makes the clients of the fleet's other clusters, for promotion.
    :param accounts: makes the client of another account, for frozen images.
    :param answers: what other clusters showed, shared with other runs of this process.
    """
    planned = {group.name: group.asg for group in plan.groups}
    shared = look or SharedLook(lambda: observe(settings, cloud, cluster, clock, planned), clock, settings.policy.poll)
    freezes = Freezes(settings, cloud, clock, accounts)
    world = (cloud, cluster, clock, shared, outside or this_machine())
    return Run(run_id, plan, settings, *world, Others(others, answers), freezes)


def _candidates(
    cloud: Cloud, source: ImageSource, asg: ScalingGroup, running: tuple[str, ...], known: Mapping[str, Image]
) -> tuple[Candidates, tuple[Blocker, ...]]:
    blockers: list[Blocker] = []
    template = _resolve(cloud, asg, asg.template, blockers)
    resolved = [_resolve(cloud, asg, spec, blockers) for spec in asg.overrides if spec is not None]
    overrides = tuple(found for found in resolved if found is not None)
    parameter = _parameter(cloud, source)
    images = _images(cloud, source, template, parameter)
    found = Candidates(
        template=template, overrides=overrides, images=images, parameter=parameter, running=running, known=known
    )
    return found, tuple(blockers)


def _resolve(cloud: Cloud, asg: ScalingGroup, spec: TemplateSpec, blockers: list[Blocker]) -> Template | None:
    try:
        return cloud.template(spec)
    except GoneError as error:
        objects = (f"asg {asg.name}", template_label(spec))
        remedy = "Correct the group's template." if spec == asg.template else "Correct that override's template."
        blockers.append(Blocker(reason=str(error), objects=objects, remedy=remedy))
        return None


def template_label(spec: TemplateSpec) -> str:
    """A template as messages name it."""
    kind = "launch configuration" if spec.launch_configuration else "template"
    return f"{kind} {spec.name or spec.id}" + (f" version {spec.version}" if spec.version else "")


def _parameter(cloud: Cloud, source: ImageSource) -> Parameter | None:
    if not source.ssm:
        return None
    try:
        return cloud.parameter(source.ssm)
    except GoneError:
        return None


def _images(
    cloud: Cloud, source: ImageSource, template: Template | None, parameter: Parameter | None
) -> tuple[Image, ...]:
    """Everything the source can mean: a parameter's own image need not match the name that answers for the past."""
    named = cloud.images(source.owner, source.name, source.architecture) if source.name and source.owner else ()
    wanted = source.id or (parameter.value if parameter else None)
    if wanted is None and not source.ssm and not source.name and template is not None:
        wanted = template.image_id
    if wanted is None or any(image.id == wanted for image in named):
        return named
    image = cloud.image(wanted)
    return (*named, image) if image else named


def _ledger(lease: Lease | None) -> Ledger | None:
    """The ledger, if it can be read; looking must not fail because of somebody's old one."""
    if lease is None or not lease.annotations.get(names.LEDGER):
        return None
    try:
        return parse(lease.annotations[names.LEDGER])
    except BlockedError:
        return None


def _asgs(ledger: Ledger | None) -> Sequence[str]:
    return [b.asg for b in ledger.groups.values()] if ledger else []


def _claimed(ledger: Ledger | None) -> set[str]:
    return {m for c in ledger.claims for m in (*c.machines, *c.replacements.values())} if ledger else set()


def _orphans(cloud: Cloud, groups: Mapping[str, ScalingGroup]) -> dict[str, Instance]:
    tagged = cloud.tagged_instances(names.DETACHED_FROM)
    return {i.id: i for i in tagged.values() if i.tags.get(names.DETACHED_FROM) in groups}


def _activities(cloud: Cloud, groups: Iterable[ScalingGroup], now: float) -> dict[str, tuple[Activity, ...]]:
    return {g.name: cloud.activities(g.name, now - ACTIVITIES_S) for g in groups if len(g.members) < g.desired}


def _all_there(settings: Settings, ours: Mapping[str, str], groups: Mapping[str, ScalingGroup]) -> None:
    first: dict[str, str] = {}
    for name, asg in ours.items():
        if first.setdefault(asg, name) != name:
            raise BadInputError(
                f"{settings.name}: node groups {first[asg]} and {name}",
                f"both are the Auto Scaling group {asg!r}.",
                "Leave one out, or give one other asg_tags.",
            )
        if asg not in groups:
            raise _not_there(settings, name, asg)


def _not_there(settings: Settings, group: str, asg: str) -> BadInputError:
    return BadInputError(
        f"{settings.name}: node group {group}",
        f"there is no Auto Scaling group {asg!r} in {settings.cluster.aws.region}.",
        "Correct its asg, or the region and account of the cluster.",
    )
