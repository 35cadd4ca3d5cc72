"""Small worlds for the decisions' stories: values only, no clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from node_rotation.clients import kubernetes_values
from node_rotation.drift import drift_of
from node_rotation.fleet import Fleet, Settings
from node_rotation.model import Batch, GroupDrift, Image, Plan, Target, TemplateVersion
from node_rotation.planning import make_plan
from node_rotation.target import Choice
from node_rotation.world.aws import Instance, Member, ScalingGroup, TemplateSpec
from node_rotation.world.kubernetes import Budget, Node, Owner, Pod
from node_rotation.world.snapshot import Snapshot

NOW = datetime(2026, 11, 9, 2, 0, tzinfo=UTC).timestamp()
DAY_S = 86400.0
OLD_TEMPLATE = TemplateVersion(name="base", id="lt-1", version="1")
NEW_TEMPLATE = TemplateVersion(name="base", id="lt-1", version="2")
NOW_AT = datetime.fromtimestamp(NOW, UTC)


def image(image_id: str, days_old: float = 1.0, **more: Any) -> Image:
    return Image(id=image_id, name=f"base-{image_id}", owner="1", created=NOW_AT - timedelta(days=days_old), **more)


OLD, NEW = image("ami-old", 30), image("ami-new", 1)


@dataclass(frozen=True)
class Machine:
    """One machine of a small world, as a story needs it."""

    id: str
    image: str = OLD.id
    zone: str = "a"
    days: float = 10.0
    ready: bool = True
    node: bool = True
    lifecycle: str = "InService"
    template: TemplateVersion | None = OLD_TEMPLATE
    tags: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    locked: bool = False
    protected: bool = False
    cordoned: bool = False

    @property
    def node_name(self) -> str:
        return f"node-{self.id}"


def scaling(machines: Sequence[Machine], name: str = "dev-workers", **more: Any) -> ScalingGroup:
    members = tuple(
        Member(m.id, m.lifecycle, "Healthy", m.zone, template=m.template, protected=m.protected) for m in machines
    )
    sizes = {"min": 1, "max": len(members), "desired": len(members)}
    defaults = {**sizes, "template": TemplateSpec("base", "lt-1", "$Latest")}
    return ScalingGroup(name=name, members=members, **{**defaults, **more})


def world(
    groups: Mapping[str, Sequence[Machine]], *, pods: Sequence[Pod] = (), budgets: Sequence[Budget] = (), **asg: Any
) -> Snapshot:
    """A snapshot of Auto Scaling groups by name; ``asg`` goes to every group."""
    machines = [m for members in groups.values() for m in members]
    return Snapshot(
        taken_at=NOW,
        groups={name: scaling(members, name, **asg) for name, members in groups.items()},
        instances={
            m.id: Instance(
                m.id,
                m.image,
                "m6i.large",
                m.zone,
                "running",
                NOW - m.days * DAY_S,
                tags=dict(m.tags),
                termination_protected=m.locked,
            )
            for m in machines
        },
        nodes=tuple(node(m) for m in machines if m.node),
        pods=tuple(pods),
        budgets=tuple(budgets),
        workloads=(),
    )


def node(machine: Machine) -> Node:
    return Node(
        machine.node_name,
        f"uid-{machine.id}",
        machine.id,
        machine.ready,
        ready_reason="" if machine.ready else "KubeletNotReady",
        unschedulable=machine.cordoned,
        labels=dict(machine.labels),
        provider_id=f"aws:///eu-1{machine.zone}/{machine.id}",
    )


STOPPED = ("NodeStatusUnknown", "Kubelet stopped posting node status.")
"""What the node lifecycle controller writes about a kubelet that it no longer hears of."""


def pleg(last_seen: str) -> tuple[str, str]:
    """What a kubelet writes whose container runtime hangs: each at its own time."""
    message = f"PLEG is not healthy: pleg was last seen active {last_seen} ago; threshold is 3m0s"
    return "KubeletNotReady", message


def not_ready(node: Node, reason: str, message: str) -> Node:
    """The Node as our client reads it from an API server, which always has both.

    :param reason: of its condition Ready.
    :param message: of its condition Ready.
    """
    condition = {"type": "Ready", "status": "Unknown", "reason": reason, "message": message}
    return kubernetes_values.node(
        {
            "metadata": {"name": node.name, "uid": node.uid, "labels": dict(node.labels)},
            "spec": {"providerID": node.provider_id, "unschedulable": node.unschedulable},
            "status": {"conditions": [condition]},
        }
    )


def pod(name: str, on: str = "", *, owner: str | None = "ReplicaSet", namespace: str = "shop", **more: Any) -> Pod:
    kind = None if owner is None else Owner(owner, "api-5d4" if owner == "ReplicaSet" else "api")
    values = {"phase": "Running", "ready": True, "labels": {"app": "api"}, **more}
    return Pod(namespace=namespace, name=name, uid=f"uid-{name}", node=on, owner=kind, **values)


def budget(
    name: str = "api", *, allowed: int = 1, expected: int = 3, healthy: int = 3, desired: int = 2, **more: Any
) -> Budget:
    values = {"namespace": "shop", "selector": {"app": "api"}, **more}
    return Budget(
        name=name, disruptions_allowed=allowed, expected=expected, healthy=healthy, desired_healthy=desired, **values
    )


def settings(groups: Sequence[Mapping[str, Any]] | None = None, **policy: Any) -> Settings:
    """Settings of a cluster ``dev`` whose groups' Auto Scaling groups are called ``dev-<group>``."""
    listed = [{"asg": f"dev-{g['name']}", **g} for g in groups or [{"name": "workers"}]]
    cluster = {"name": "dev", "aws": {"region": "eu-central-1"}, "groups": listed, "policy": policy}
    return Fleet.model_validate({"environments": [{"name": "dev", "clusters": [cluster]}]}).settings("dev")


def drifts(told: Settings, snapshot: Snapshot, *, template: TemplateVersion | None = NEW_TEMPLATE) -> list[GroupDrift]:
    """The drift of every group against the new image, which ``template`` launches."""
    choice = Choice(Target(image=NEW, template=template, source="test"), templates=(template,) if template else ())
    images = {OLD.id: OLD, NEW.id: NEW}
    return [
        drift_of(g.name, str(g.asg), choice, snapshot, told.groups[g.name], images=images, now=NOW)
        for g in told.cluster.groups
    ]


def plan(told: Settings, snapshot: Snapshot, *, template: TemplateVersion | None = NEW_TEMPLATE) -> Plan:
    return make_plan(told, drifts(told, snapshot, template=template), snapshot, NOW)


def ids(batch: Batch) -> tuple[str, ...]:
    return tuple(machine.instance_id for machine in batch.machines)
