"""Is a new machine of use to the cluster yet, and if not, is its image to blame."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from node_rotation.health import UNHEARD, ails_elsewhere, is_daemon, owner_key, works_elsewhere
from node_rotation.outcome import CLEAR_BATCH, Blocked
from node_rotation.scaling import hooks
from node_rotation.scaling.targets import label, lacking
from node_rotation.steps.scene import gone, span
from node_rotation.world.aws import Instance, Member, ScalingGroup
from node_rotation.world.kubernetes import Node
from node_rotation.world.snapshot import Snapshot

STARTUP_TAINTS = (
    "node.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
    "startup-taint.cluster-autoscaler.kubernetes.io/",
    "karpenter.sh/unregistered",
)
STARTUP_SUFFIX = "agent-not-ready"  # node.cilium.io/, ebs.csi.aws.com/, efs.csi.aws.com/
_TARGET_REMEDY = f"Look at the target group's health check and the machine's security groups, then {CLEAR_BATCH}"
CORDON_TAINT = "node.kubernetes.io/unschedulable"
UNSEEN_S = 30.0
"""So young a Node may be unknown to the DaemonSet controller; later its status speaks of it as well."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a replacement is not usable (yet).

    :param final: waiting won't help.
    :param image_fault: if it stays like this, the image is the cause.
    :param launched: there is a replacement, so a launching hook may hold it.
    """

    text: str
    objects: tuple[str, ...]
    image_fault: bool = False
    final: bool = False
    remedy: str = ""
    launched: bool = True

    def blocked(self, waited: float) -> Blocked:
        """The problem, given up on after so many seconds."""
        remedy = self.remedy or (
            "Look at the machine's console output and kubelet log, correct the image and start a new run."
            if self.image_fault
            else f"Remove its cause, then {CLEAR_BATCH}"
        )
        text = self.text if self.final else f"{self.text}, for {span(waited)}"
        return Blocked(text, self.objects, remedy, self.image_fault)


def problem(
    snapshot: Snapshot,
    group: ScalingGroup,
    new: str,
    old: str,
    image_id: str,
    served: Sequence[str] = (),
    sick: Collection[str] = (),
    not_ready: Collection[str] = (),
) -> Problem | None:
    """The first thing that keeps a replacement from being usable, or None.

    :param new: the replacement's instance id.
    :param old: the old machine's: the DaemonSets that run there must run on the new one too, if they belong there.
    :param image_id: what the plan launches.
    :param served: target groups (ARNs) that it must serve as its predecessor did.
    :param sick: keys of workloads that were broken before the run: nobody waits for their pods.
    :param not_ready: names of nodes that were NotReady before the run.
    """
    instance = snapshot.instances.get(new)
    if instance is None or gone(instance):
        return Problem(f"replacement {new} went away again, asg {group.name} launches another", (f"instance {new}",))
    if instance.image_id != image_id:
        return Problem(
            f"replacement {new} runs {instance.image_id}, the plan says {image_id}",
            (f"instance {new}", f"asg {group.name}"),
            final=True,
            remedy="Somebody changed the group's template meanwhile: make a new plan.",
        )
    member = group.member(new)
    if member is None or member.lifecycle != "InService":
        return _not_in_service(group, instance, member)
    node = snapshot.node_of(new)
    if node is None or not node.ready:
        return _not_ready(snapshot, new, node, not_ready)
    return _node_problem(snapshot, node, old, sick) or _target_problem(snapshot, new, served)


def _not_in_service(group: ScalingGroup, instance: Instance, member: Member | None) -> Problem:
    if held := hooks.waiting(group, member, instance.launched_at):
        remedy = f"Look at the owner of the hook; hook_timeout says how long we wait. Then {CLEAR_BATCH}"
        return Problem(f"replacement {instance.id} waits for {held}", (f"instance {instance.id}",), remedy=remedy)
    state = member.lifecycle if member else "not a member"
    return Problem(f"replacement {instance.id} is {state} in asg {group.name}", (f"instance {instance.id}",))


def _target_problem(snapshot: Snapshot, new: str, served: Sequence[str]) -> Problem | None:
    """Load balancers may not reach it for many reasons: never held against the image."""
    for arn, target in lacking(served, snapshot.targets, new):
        why = f" ({target.reason})" if target.reason else ""
        objects = (f"instance {new}", label(arn))
        return Problem(f"replacement {new} is {target.state} in {label(arn)}{why}", objects, remedy=_TARGET_REMEDY)
    return None


def _not_ready(snapshot: Snapshot, new: str, node: Node | None, before: Collection[str]) -> Problem:
    """It is not Ready, or no Node at all; its image is not why while old nodes are not Ready for the same reason."""
    fault = not ails_elsewhere(snapshot, new, node.ready_reason if node else UNHEARD, before)
    if node is None:
        return Problem(f"replacement {new} runs but has not joined the cluster", (f"instance {new}",), fault)
    objects = (f"node {node.name}", f"instance {new}")
    return Problem(f"node {node.name} is NotReady ({node.why_not_ready})", objects, fault)


def _node_problem(snapshot: Snapshot, node: Node, old: str, sick: Collection[str]) -> Problem | None:
    objects = (f"node {node.name}", f"instance {node.instance_id}")
    if taint := next((key for key, _, effect in node.taints if _startup(key, effect)), None):
        return Problem(f"node {node.name} still has the startup taint {taint}", objects, True)
    daemons = [*_unready_daemons(snapshot, node, sick, objects), *_missing_daemons(snapshot, node, old, sick, objects)]
    return min(daemons, key=lambda p: not p.image_fault, default=None)


def _startup(key: str, effect: str) -> bool:
    if effect == "PreferNoSchedule" or key == CORDON_TAINT:
        return False
    return key.startswith(STARTUP_TAINTS) or key.endswith(STARTUP_SUFFIX)


def _unready_daemons(
    snapshot: Snapshot, node: Node, sick: Collection[str], objects: tuple[str, ...]
) -> Iterator[Problem]:
    ready = _daemons_on(snapshot, node)
    for pod in snapshot.pods_on(node.name):
        if not is_daemon(pod) or pod.ready or owner_key(pod) in ready or owner_key(pod) in sick:
            continue
        only_here = works_elsewhere(pod, snapshot.pods)
        nowhere = "" if only_here else ", nor any other of its DaemonSet"
        yield Problem(f"on node {node.name} DaemonSet pod {pod.key} is not Ready{nowhere}", objects, only_here)


def _missing_daemons(
    snapshot: Snapshot, node: Node, old: str, sick: Collection[str], objects: tuple[str, ...]
) -> Iterator[Problem]:
    """Pods that their controller still has to make: it, not the image, is what they wait for."""
    lacking = {w.key for w in snapshot.workloads if w.lacking}
    unseen = snapshot.taken_at - node.created_at < UNSEEN_S
    for key in _absent(snapshot, node, old, sick):
        if unseen or key in lacking:
            yield Problem(f"on node {node.name} there is no pod of {key} yet", objects)


def unwanted(snapshot: Snapshot, new: str, old: str, sick: Collection[str] = ()) -> tuple[str, ...]:
    """One line for each DaemonSet that runs on the old machine and wants no pod on a usable replacement."""
    node = snapshot.node_of(new)
    absent = _absent(snapshot, node, old, sick) if node else ()
    return tuple(f"{key} ran on {old} and has no place on {new}: see its node selector" for key in absent)


def _absent(snapshot: Snapshot, node: Node, old: str, sick: Collection[str]) -> tuple[str, ...]:
    before = snapshot.node_of(old)
    expected = _daemons_on(snapshot, before) if before else frozenset()
    there = frozenset(owner_key(pod) for pod in snapshot.pods_on(node.name))
    return tuple(sorted(expected - there - set(sick)))


def _daemons_on(snapshot: Snapshot, node: Node) -> frozenset[str]:
    """The keys of the DaemonSets that have a Ready pod on a node."""
    return frozenset(owner_key(pod) for pod in snapshot.pods_on(node.name) if pod.ready and is_daemon(pod))
