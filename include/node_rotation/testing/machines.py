"""What joins EC2 and Kubernetes in memory: instances become Nodes, fail, and their Nodes go away."""

from __future__ import annotations

from dataclasses import replace

from node_rotation.testing.account import Account
from node_rotation.testing.cluster import MemoryCluster
from node_rotation.testing.controllers import Controllers
from node_rotation.testing.ec2 import Ec2, address_of
from node_rotation.testing.objects import Objects
from node_rotation.world.aws import Instance
from node_rotation.world.kubernetes import Node, Taint

KUBELET_DOWN = "NodeStatusUnknown"
KUBELET_UNWELL = "KubeletNotReady"
UNHEARD_MESSAGE = "Kubelet stopped posting node status."  # the node lifecycle controller's words
NO_NETWORK_MESSAGE = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
    "message:Network plugin returns error: cni plugin not initialized"
)


class Machines:
    """Kubelets, the node lifecycle controller and the cloud's node controller.

    :param account: says how an image's machines behave, and what a group's machines are labelled with.
    """

    def __init__(
        self, ec2: Ec2, objects: Objects, controllers: Controllers, cluster: MemoryCluster, account: Account
    ) -> None:
        self._ec2, self._objects, self._controllers, self._cluster = ec2, objects, controllers, cluster
        self._account, self._timing = account, controllers.timing
        ec2.on_state.append(self._state_changed)

    def not_ready(self, name: str, reason: str = KUBELET_UNWELL) -> None:
        """A node turns NotReady, and with it its pods; after the toleration they are evicted by taint."""
        node = self._objects.nodes.get(name)
        if node is None or not node.ready:
            return
        message = UNHEARD_MESSAGE if reason == KUBELET_DOWN else _hanging(self._objects.clock.now())
        self._objects.put_node(replace(node, ready=False, ready_reason=reason, ready_message=message))
        for pod in self._objects.pods_of_node(name):
            self._objects.change_pod(pod.uid, "node not ready", ready=False)
        self._controllers.node_changed(name)
        self._objects.clock.after(self._timing.not_ready_eviction, lambda: self._evict_by_taint(name, node.uid))

    def ready(self, name: str) -> None:
        """A node turns Ready."""
        node = self._objects.nodes.get(name)
        if node and not node.ready and self._objects.kubelets.get(name):
            self._objects.put_node(replace(node, ready=True, ready_reason="", ready_message=""))
            self._controllers.node_ready(name)
            self._controllers.node_changed(name)

    def _state_changed(self, instance: Instance) -> None:
        name = instance.private_dns
        if instance.state == "running":
            self._boot(instance)
        elif instance.state == "shutting-down" and name in self._objects.kubelets:
            self._lose_kubelet(name)
        elif instance.state == "terminated":
            self._lose_kubelet(name)
            self._remove_later(name)

    def _boot(self, instance: Instance) -> None:
        image = self._account.images[instance.image_id]
        if image.behaviour == "never-joins":
            return
        node = self._node(instance)
        self._objects.kubelets[node.name] = True
        self._objects.put_node(node)
        self._controllers.node_changed(node.name)
        if image.behaviour == "joins-not-ready":
            return
        clock = self._objects.clock
        if self._timing.join:
            clock.after(self._timing.join, lambda: self.ready(node.name))
        else:
            self.ready(node.name)
        if image.behaviour == "fails-later":
            clock.after(self._timing.join + image.fails_after, lambda: self.not_ready(node.name))

    def _node(self, instance: Instance) -> Node:
        group = self._account.groups[self._ec2.launched_for[instance.id]]
        labels = {
            "kubernetes.io/hostname": instance.private_dns,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "node.kubernetes.io/instance-type": instance.instance_type,
            "topology.kubernetes.io/region": self._ec2.region,
            "topology.kubernetes.io/zone": instance.zone,
            **({"node-role.kubernetes.io/control-plane": ""} if group.role == "control-plane" else {}),
            **(_eks_labels(group.name, instance.image_id) if group.kind == "eks-managed" else {}),
            **group.labels,
        }
        return Node(
            name=instance.private_dns,
            uid=self._objects.new_uid(),
            instance_id=instance.id,
            ready=False,
            ready_reason=KUBELET_UNWELL,
            ready_message=NO_NETWORK_MESSAGE,
            labels=labels,
            taints=tuple(_taint(said) for said in group.taints),
            created_at=self._objects.clock.now(),
            provider_id=f"aws:///{instance.zone}/{instance.id}",
            address=address_of(instance),
        )

    def _lose_kubelet(self, name: str) -> None:
        if not self._objects.kubelets.get(name):
            return
        self._objects.kubelets[name] = False
        for pod in self._objects.pods_of_node(name):
            if event := self._objects.leaving.pop(pod.uid, None):
                event.cancel()
            for listener in self._objects.on_pod:  # the API server has not heard of it yet; who looks closer has
                listener(self._objects.workload_of[pod.uid], pod, pod, "machine gone")
        self._objects.clock.after(self._timing.heartbeat_grace, lambda: self.not_ready(name, KUBELET_DOWN))

    def _remove_later(self, name: str) -> None:
        node = self._objects.nodes.get(name)
        if node and self._timing.node_removal is not None:
            delay, uid = self._timing.node_removal, node.uid
            self._objects.clock.after(delay, lambda: self._cluster.remove_node(name, uid))

    def _evict_by_taint(self, name: str, uid: str) -> None:
        node = self._objects.nodes.get(name)
        if node is None or node.uid != uid or node.ready:
            return
        for pod in self._objects.pods_of_node(name):
            daemon = self._objects.workload_of[pod.uid].seed.kind == "DaemonSet"
            if not daemon and not pod.tolerates_everything:
                self._controllers.delete(pod, None, "taint eviction")


def _hanging(now: float) -> str:
    """What a kubelet says whose container runtime hangs: no two of them have the same time in it."""
    return f"PLEG is not healthy: pleg was last seen active 3m{now % 60:.1f}s ago; threshold is 3m0s"


def _eks_labels(group: str, image_id: str) -> dict[str, str]:
    """What EKS puts on its nodes (EKS user guide, "Understand each phase of node updates")."""
    return {"eks.amazonaws.com/nodegroup": group, "eks.amazonaws.com/nodegroup-image": image_id}


def _taint(said: str) -> Taint:
    """``key=value:Effect`` as scenarios write it."""
    pair, _, effect = said.rpartition(":")
    key, _, value = pair.partition("=")
    return (key, value, effect)
