"""Models of what the peers document: simple, in their favour where a document leaves a thing open.

Every call of AWS or Kubernetes takes no time. None has load balancers to wait for, volumes to detach, or anything that
fails. Numbers are defaults, but for the one that sets how many machines may be in flight.

kops rolling-update. https://kops.sigs.k8s.io/operations/rolling-update/ (maxSurge, maxUnavailable, and that nothing
 goes on before the cluster validates), `kops rolling-update cluster --help` and kubernetes/kops
 cmd/kops/rolling-update_cluster.go (node-interval 15s, post-drain-delay 5s, validate-count 2, retried after 30 s, 10 s
 between two successes) and pkg/instancegroups/instancegroups.go (old nodes are tainted; maxSurge machines from the end
 of the list are detached, the first of a new template alone; drains run in parallel; after one has ended the cluster
 is validated, and only then the next ones begin). Left out: validation looks at system-critical pods, here there are
 only the DaemonSet's; deregistration from load balancers.
EKS managed node group. https://docs.aws.amazon.com/eks/latest/userguide/managed-node-update-behavior.html: the larger
 of two per zone and maxUnavailable is added, maxUnavailable are emptied at once, 60 s until each is terminated, then
 the next ones; the surplus goes one by one. The guide does not say that EKS waits for what replaces a terminated
 machine, nor how often it looks: it does not wait, and looks every second. Its scale-down is not counted as `fresh`.
Instance refresh. https://docs.aws.amazon.com/autoscaling/ec2/userguide/understand-instance-refresh-default-values.html
 (90 % healthy; warm-up: the group's health check grace period, 0 s by default through the API) and
 .../instance-refresh-overview.html: terminates first, nothing is drained. `node_rotation.testing.scaling_refresh`.
 Left out: that EC2 calls a machine InService minutes before its kubelet is Ready, which would be worse for the pods.
Karpenter drift. https://karpenter.sh/docs/concepts/disruption/ (default budget 10 % rounded up, minus what is being
 deleted or NotReady; the node is tainted, its replacement is Ready first, then it is drained through the eviction API
 and terminated) and kubernetes-sigs/karpenter pkg/controllers/disruption/controller.go, helpers.go, queue.go (a look
 every 10 s, at once after a command; one node per command; replacements looked at every second; a node that is
 terminated no longer counts) and node/termination/terminator/eviction.go (a refused eviction is tried again after
 0.1 s, doubling to 10 s). Left out: packing (each node gets one replacement of its own), the minutes until drift is
 noticed.
rotator. mattermost/rotator rotator/rotator.go, rotator/helpers.go, aws/helpers.go, k8s/helpers.go and
 mattermost/rotatorctl cmd/rotatorctl/rotate_commands.go: detaches max-scaling machines, sleeps 60 s, looks every 5 s
 for the group and every 20 s for each node, then drains and terminates one after the other; 60 s between drains
 (wait-between-drains) and 60 s after a round (wait-between-rotations).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial

from bench.peers_world import GROUP, NEW, Api, Steps, Task, carried_out, spawn

from node_rotation.testing.managed_roller import Roller
from node_rotation.testing.managed_values import Nodegroup, Pace
from node_rotation.testing.scaling_values import GroupChange
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.answers import Evicted, PodGone
from node_rotation.world.kubernetes import Pod

LOOK_S = 1.0
SHARE_S = 0.1
"""How late a model notices that something of its own has ended."""
RETRY_S = 5.0
"""kubectl drain: after an eviction that was refused."""


def kops(made: MemoryWorld, surge: int) -> None:
    """``rollingUpdate: {maxSurge: surge}``."""
    carried_out(made, _kops(Api(made), surge))


def eks(made: MemoryWorld, max_unavailable: int) -> None:
    """``updateConfig: {maxUnavailable: …}``, strategy DEFAULT."""
    api = Api(made)
    roller = Roller(made.scaling, api.cluster, nullcontext(), Pace(look=LOOK_S, waits=False))
    group = Nodegroup("dev", GROUP, api.asg, "CUSTOM", "1.36", max_unavailable=max_unavailable)
    carried_out(made, roller.roll(group, made.image_id(NEW), force=False))


def instance_refresh(made: MemoryWorld, min_healthy: int) -> None:
    """``MinHealthyPercentage``."""
    asg = Api(made).asg
    made.scaling.start_refresh(asg, {"MinHealthyPercentage": min_healthy})
    refreshes = made.scaling.group(asg).refreshes
    carried_out(made, _until(lambda: refreshes[0]["Status"] == "Successful"))


def karpenter(made: MemoryWorld, percent: int) -> None:
    """``disruption: {budgets: [{nodes: "10%"}]}``."""
    api = Api(made)
    made.scaling.suspend(api.asg, ("AZRebalance",))  # there is no Auto Scaling group in its world
    carried_out(made, _karpenter(api, percent))


def rotator(made: MemoryWorld, max_scaling: int) -> None:
    """``--max-scaling``."""
    carried_out(made, _rotator(Api(made), max_scaling))


def _until(true: Callable[[], bool], look_s: float = SHARE_S) -> Steps:
    while not true():
        yield look_s


def _any_ended(tasks: Sequence[Task]) -> Steps:
    return _until(lambda: any(task.ended for task in tasks))


def _all_ended(tasks: Sequence[Task]) -> Steps:
    return _until(lambda: all(task.ended for task in tasks))


def _kops(api: Api, surge: int) -> Steps:
    yield from _validated(api)
    update = api.old()
    for machine in update:
        if node := api.node(machine):
            api.cluster.taint(node.name, node.uid, ("kops.k8s.io/scheduled-for-update", "", "PreferNoSchedule"))
    detached = update[::-1][:surge]
    for first in (detached[:1], detached[1:]):  # the first of a new template goes alone
        if first:
            api.world.scaling.detach(api.asg, first, decrement=False)
            yield 15.0
            yield from _validated(api)
    running: list[Task] = []
    for machine in [*(m for m in update if m not in detached), *detached]:
        running.append(spawn(api.world.clock, _kops_machine(api, machine)))
        if len(running) < surge:
            continue
        yield from _any_ended(running)
        yield from _validated(api)
        running = [task for task in running if not task.ended]
    yield from _all_ended(running)
    yield from _validated(api)


def _kops_machine(api: Api, machine: str) -> Steps:
    yield from _kubectl_drain(api, machine)
    yield 5.0
    if node := api.node(machine):
        api.cluster.delete_node(node.name, node.uid)
    _terminate(api, machine)
    yield 15.0


def _validated(api: Api) -> Steps:
    """Twice in a row, 10 s apart: every machine of the group has a Ready node, and system pods are Ready."""
    green = 0
    while green < 2:
        if green:
            yield 10.0
        if _valid(api):
            green += 1
        else:
            green = 0
            yield 30.0


def _valid(api: Api) -> bool:
    group = api.world.scaling.group(api.asg)
    live = group.live()
    system = (pod for pod in api.world.objects.pods.values() if pod.namespace == "kube-system")
    enough = len(live) >= group.desired and all(api.ready(m.instance_id) for m in live)
    return enough and all(pod.ready or not api.world.objects.runs(pod) for pod in system)


def _rotator(api: Api, max_scaling: int) -> Steps:
    scaling, desired = api.world.scaling, api.world.scaling.group(api.asg).desired
    nodes = api.old()
    while nodes:
        batch, nodes = nodes[:max_scaling], nodes[max_scaling:]
        scaling.detach(api.asg, batch, decrement=False)
        yield 60.0
        yield from _until(lambda: len(scaling.group(api.asg).members) == desired, 5.0)
        for machine in [m for m in scaling.group(api.asg).members if m not in (*batch, *nodes)]:
            yield from _until(partial(api.ready, machine), 20.0)
        for machine in batch:
            yield from _kubectl_drain(api, machine)
            _terminate(api, machine)
            if node := api.node(machine):
                api.cluster.delete_node(node.name, node.uid)
            if machine != batch[-1]:
                yield 60.0
        if nodes:
            yield 60.0


def _karpenter(api: Api, percent: int) -> Steps:
    left, taken = api.old(), set(api.old())
    tasks: list[Task] = []
    while left:
        while left and _disrupting(tasks) < _allowed(api, percent):
            tasks.append(spawn(api.world.clock, _command(api, left.pop(0), taken)))
            yield SHARE_S
        yield 10.0
    yield from _all_ended(tasks)


def _allowed(api: Api, percent: int) -> int:
    """Of the nodes that are initialized and not yet terminated."""
    return math.ceil(sum(n.ready for n in api.world.objects.nodes.values()) * percent / 100)


def _disrupting(tasks: Sequence[Task]) -> int:
    return sum(not task.ended for task in tasks)


def _command(api: Api, machine: str, taken: set[str]) -> Steps:
    """One replacement, then one machine less."""
    if node := api.node(machine):
        api.cluster.taint(node.name, node.uid, ("karpenter.sh/disrupted", "", "NoSchedule"))
    group = api.world.scaling.group(api.asg)
    api.world.scaling.update(api.asg, GroupChange(max_size=group.max_size + 1, desired=group.desired + 1))
    new = ""
    while not new:
        yield LOOK_S
        ready = (m for m in group.members if m not in taken and api.ready(m))
        new = next(ready, "")
    taken.add(new)
    yield from _evict_all(api, machine, lambda refused: min(0.1 * 2**refused, 10.0))
    api.world.scaling.terminate(machine, decrement=True)


def _kubectl_drain(api: Api, machine: str) -> Steps:
    if node := api.node(machine):
        api.cluster.cordon(node.name, node.uid)
    yield from _evict_all(api, machine, lambda refused: RETRY_S)


def _evict_all(api: Api, machine: str, pause: Callable[[int], float]) -> Steps:
    """Every pod by itself, tried again after a pause; done once none is left but the DaemonSets'.

    :param pause: seconds, by how often it was refused.
    """
    tried: dict[str, tuple[int, float]] = {}
    while pods := _movable(api, machine):
        now = api.world.clock.now()
        for pod in pods:
            refused, due = tried.get(pod.uid, (0, now))
            if pod.terminating_since is not None or now < due:
                continue
            if not isinstance(api.cluster.evict(pod), Evicted | PodGone):
                tried[pod.uid] = (refused + 1, now + pause(refused))
        yield min((due - now for _, due in tried.values() if due > now), default=LOOK_S)


def _movable(api: Api, machine: str) -> list[Pod]:
    node = api.node(machine)
    pods: Iterable[Pod] = api.world.objects.pods_of_node(node.name) if node else ()
    return [pod for pod in pods if pod.owner is not None and pod.owner.kind != "DaemonSet"]


def _terminate(api: Api, machine: str) -> None:
    """EC2 TerminateInstances; its group notices."""
    api.world.ec2.terminate_by_request(machine)
    api.world.scaling.instance_changed(machine)
