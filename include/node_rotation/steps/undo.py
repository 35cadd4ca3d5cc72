"""Take our marks off a group, its nodes and a paused autoscaler; restore and sweep share it."""

from __future__ import annotations

from collections.abc import Collection

from node_rotation import lock, names
from node_rotation.configuration.autoscaler_policy import remembering, scaled
from node_rotation.configuration.intake_policy import ObjectRef
from node_rotation.errors import GoneError
from node_rotation.run import Run
from node_rotation.steps import baseline_tag
from node_rotation.steps.baseline_tag import Before
from node_rotation.steps.cordon import OURS, uncordon
from node_rotation.steps.scene import ending, fresh_group, still_detaching
from node_rotation.world.aws import ScalingGroup
from node_rotation.world.kubernetes import Node, Workload
from node_rotation.world.snapshot import Snapshot


def undo_group(run: Run, asg: str, before: Before, did: list[str], *, keep_baseline: bool = False) -> None:
    """Sizes, processes and tags of a group; its baseline tag goes last. Who still leaves it stays tagged.

    :param keep_baseline: the tag stays, and says no more than what is not as before.
    """
    lock.require(run)
    group = fresh_group(run, asg)
    if resume := [p for p in before.suspended_by_us if p in group.suspended]:
        run.cloud.resume(asg, resume)
        did.append(f"group {asg}: resumed {', '.join(resume)}")
    # A max below desired would make AWS choose victims: then somebody else's change is kept.
    maximum = before.max if before.max >= group.desired else group.max
    if (group.min, group.max) != (before.min, maximum):
        run.cloud.set_sizes(asg, min=before.min, max=maximum)
        did.append(f"group {asg}: min {before.min}, max {maximum}")
    if ours := _tagged(run, group):
        run.cloud.untag_instances(ours, list(names.INSTANCE_TAGS))
    if names.BASELINE in group.tags:
        _undo_tag(run, group, keep=keep_baseline)
    run.look.forget()


def _tagged(run: Run, group: ScalingGroup) -> list[str]:
    """The members with tags of ours, without those that are to be its orphans."""
    instances = run.cloud.instances([m.instance_id for m in group.members])
    found = ((i, m) for m in group.members if (i := instances.get(m.instance_id)) is not None)
    return [i.id for i, m in found if any(key in i.tags for key in names.INSTANCE_TAGS) and not still_detaching(m, i)]


def _undo_tag(run: Run, group: ScalingGroup, *, keep: bool) -> None:
    lock.require(run)
    if not keep:
        run.cloud.untag_group(group.name, [names.BASELINE])
    elif (left := baseline_tag.put_back(group)) != group.tags[names.BASELINE]:
        run.cloud.tag_group(group.name, {names.BASELINE: left})


def undo_nodes(run: Run, snapshot: Snapshot, machines: Collection[str], did: list[str]) -> None:
    """Cordons, taints and annotations of ours on the Nodes of these machines."""
    for node in snapshot.nodes:
        if node.instance_id in machines and marked(node) and not ending(snapshot, node.instance_id):
            try:
                _undo_node(run, node)
            except GoneError:
                continue
            did.append(f"node {node.name}: our marks are gone")


def paused(snapshot: Snapshot) -> tuple[Workload, ...]:
    """The Deployments that say that we paused them."""
    return tuple(w for w in snapshot.workloads if w.before_pause)


def unpause(run: Run, workload: Workload, did: list[str]) -> None:
    """Give a paused Deployment back what it had, unless somebody has scaled it since; then only our annotation goes.

    What can't be read is left to a person: residue names it.
    """
    ref = ObjectRef(api_version="apps/v1", kind="Deployment", namespace=workload.namespace, name=workload.name)
    before = workload.before_pause
    if not before.isdecimal():
        return
    lock.require(run)
    try:
        run.cluster.objects.patch(ref, remembering(None) if workload.desired else scaled(int(before), None))
    except GoneError:
        return
    did.append(
        f"{workload.key}: our mark is gone" if workload.desired else f"{workload.key} has {before} replicas again"
    )
    run.look.forget()


def marked(node: Node) -> tuple[str, ...]:
    """Which marks of ours a Node carries."""
    written = (names.CORDONED_BY, names.DRAINED_SINCE, names.KEPT_BY, names.LEFT_TARGETS)
    marks = [key for key in written if key in node.annotations]
    marks += [f"taint {key}" for key, _, _ in node.taints if key == names.OLD_TAINT]
    if node.labels.get(names.EXCLUDE_BALANCERS) == OURS:
        marks.append(names.EXCLUDE_BALANCERS)
    return tuple(marks)


def _undo_node(run: Run, node: Node) -> None:
    uncordon(run, node)
    lock.require(run)
    if any(key == names.OLD_TAINT for key, _, _ in node.taints):
        run.cluster.untaint(node.name, node.uid, names.OLD_TAINT)
    run.look.forget()
