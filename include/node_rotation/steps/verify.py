"""The last word: what is still different from the plan, and what the run left behind."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from node_rotation import intake, names
from node_rotation.ledger import ClaimState
from node_rotation.lock import expired
from node_rotation.managed.leftovers import left_behind
from node_rotation.managed.planning import busy
from node_rotation.model import GroupPlan, Strategy
from node_rotation.run import Run
from node_rotation.steps.scene import ending, gone, ledger_of, stays
from node_rotation.steps.undo import marked, paused
from node_rotation.steps.warm import stale
from node_rotation.world.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verify found; every entry names its object.

    :param drift: machines of the plan's groups that are not on the target.
    :param orphans: machines out of every group, still running.
    :param residue: the lock, a closed intake, our tags on groups and machines, our marks on Nodes and a paused
        autoscaler. A group's sizes and processes are not as before as long as its baseline tag is there: it goes last.
    :param problems: batches that did not pass, updates that EKS goes on with, and what one that failed left behind.
    """

    drift: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    residue: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if there is nothing left to say."""
        return not (self.drift or self.orphans or self.residue or self.problems)


def verify(run: Run, begun: Collection[str] = ()) -> Verdict:
    """Look at the world once more, with no other memory of the run than this one. Reads only.

    :param begun: managed groups that the run began to update: what is left in any other was somebody else.
    """
    run.look.forget()
    snapshot = run.look()
    return Verdict(
        drift=tuple(_drift(run, snapshot)),
        orphans=tuple(orphans(snapshot)),
        residue=tuple(_residue(run, snapshot)),
        problems=tuple(_problems(run, snapshot, begun)),
    )


def orphans(snapshot: Snapshot) -> Iterator[str]:
    """Machines that say which group they were detached from, run, and are in no group."""
    members = {m.instance_id for group in snapshot.groups.values() for m in group.members}
    for instance in snapshot.instances.values():
        if names.DETACHED_FROM in instance.tags and instance.id not in members and not gone(instance):
            yield f"instance {instance.id}, detached from {instance.tags[names.DETACHED_FROM]}"


def _drift(run: Run, snapshot: Snapshot) -> Iterator[str]:
    for plan in run.plan.groups:
        planned = _planned(run, plan)
        group = snapshot.groups.get(_asg(plan, snapshot))
        members = {m.instance_id for m in group.members if stays(m.lifecycle)} if group else set()
        for machine in sorted(members | planned):
            instance = snapshot.instances.get(machine)
            if instance is None or gone(instance):
                continue
            if machine in planned and machine not in members and names.DETACHED_FROM not in instance.tags:
                continue  # somebody took it out of its group: it is no machine of the group any more
            if machine in planned:
                yield f"instance {machine} of group {plan.name} was to be replaced and still runs"
            elif instance.image_id != plan.target.image.id:
                yield f"instance {machine} of group {plan.name} runs {instance.image_id}"
        if group is not None and plan.strategy is not Strategy.MANAGED:
            yield from (f"warm machine {m} of group {plan.name} is on another image" for m in stale(run, group))


def _planned(run: Run, plan: GroupPlan) -> frozenset[str]:
    """Instance ids of the machines of a group that were to be replaced."""
    return frozenset(m.instance_id for batch in run.plan.batches if batch.group == plan.name for m in batch.machines)


def _asg(plan: GroupPlan, snapshot: Snapshot) -> str:
    """A managed node group that was made anew has another Auto Scaling group by now."""
    eks, name = plan.managed, plan.asg
    if eks is None:
        return name
    address = (eks.eks_cluster, eks.nodegroup)
    return next((asg for asg, found in snapshot.managed.items() if (found.cluster, found.name) == address), name)


def _residue(run: Run, snapshot: Snapshot) -> Iterator[str]:
    lease = snapshot.lease
    if lease is not None and lease.holder == run.id:
        yield f"lease {names.LEASE_NAMESPACE}/{names.LEASE_NAME} is still held by {run.id}"
        ledger = ledger_of(lease, run.id)
        if ledger is not None and (shut := intake.shut(ledger)):
            yield shut
    elif lease is not None and lease.holder and not expired(lease, run.clock.now()):
        return  # another run works here by now: its marks are its own
    elif lease is not None and lease.holder:
        yield f"lease {names.LEASE_NAMESPACE}/{names.LEASE_NAME} is still held by {lease.holder}, which died"
    yield from residue(snapshot)


def residue(snapshot: Snapshot) -> Iterator[str]:
    """Marks of ours on groups, machines, nodes and a paused autoscaler, whoever left them."""
    for group in snapshot.groups.values():
        if names.BASELINE in group.tags:
            yield f"asg {group.name}: tag {names.BASELINE} ({group.tags[names.BASELINE]})"
        for member in group.members:
            instance = snapshot.instances.get(member.instance_id)
            tags = [key for key in names.INSTANCE_TAGS if instance and not gone(instance) and key in instance.tags]
            yield from (f"instance {member.instance_id}: tag {key}" for key in tags)
    for workload in paused(snapshot):
        yield f"{workload.key}: annotation {names.REPLICAS} ({workload.before_pause})"
    for node in snapshot.nodes:
        instance = snapshot.instances.get(node.instance_id)
        leaves = instance is not None and gone(instance)  # its Node goes, and our marks with it
        if not leaves and not ending(snapshot, node.instance_id):
            yield from (f"node {node.name}: {mark}" for mark in marked(node))


def _problems(run: Run, snapshot: Snapshot, begun: Collection[str]) -> Iterator[str]:
    ledger = ledger_of(snapshot.lease, run.id)
    for claim in ledger.claims if ledger else ():
        if claim.state is not ClaimState.PASSED:
            yield f"batch {claim.batch} is {claim.state}{f': {claim.why}' if claim.why else ''}"
    for plan in run.plan.groups:
        group = snapshot.managed.get(plan.asg)
        if group is None:
            continue
        if group.in_flight is not None:
            yield f"{busy(group)}: EKS goes on with it, it can't be stopped or rolled back"
        if plan.name in begun:
            yield from left_behind(plan, group, _planned(run, plan), run.plan.created.timestamp(), snapshot)
