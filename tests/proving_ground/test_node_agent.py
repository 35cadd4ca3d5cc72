from __future__ import annotations

import datetime as dt
import json

import pytest
from kubernetes import client
from tests.proving_ground.waiting import eventually

from proving_ground.aws.events import InstanceEvent
from proving_ground.node_agent import NodeAgent
from proving_ground.scenario import Timing

pytestmark = pytest.mark.proving_ground
GRACE_S = 4.0


def node(core, name):
    try:
        return core.read_node(name)
    except client.ApiException as error:
        if error.status == 404:
            return None
        raise


def ready(core, name):
    """The Ready condition's status, None without a Node."""
    found = node(core, name)
    if found is None:
        return None
    return next(one.status for one in found.status.conditions if one.type == "Ready")


def renewed(api, name):
    """When the kubelet was last heard of, None before the first time."""
    leases = client.CoordinationV1Api(api).list_namespaced_lease("kube-node-lease").items
    return next((lease.spec.renew_time for lease in leases if lease.metadata.name == name), None)


def created(ground, name):
    """What was made under this name, in order, as the audit log tells it."""
    entries = (json.loads(line) for line in ground.audit_log("test").read_text().splitlines(keepends=True)[:-1])
    return [
        entry["objectRef"]["resource"]
        for entry in entries
        if (entry["verb"], entry.get("objectRef", {}).get("name")) == ("create", name)
        and entry["objectRef"]["resource"] in ("leases", "nodes")
        and entry["responseStatus"]["code"] == 201
    ]


def test_a_machine_of_a_group_is_a_ready_node_joined_by_provider_id(ground, core):
    """The kubelet registers its machine; the cloud controller sets providerID, zone, region and instance type.

    https://kubernetes.io/docs/concepts/architecture/cloud-controller/#node-controller
    https://kubernetes.io/docs/reference/labels-annotations-taints/#topologykubernetesiozone
    """
    machines = [event for event in ground.aws.world.instances() if event.group == "test-workers"]
    assert len(machines) == 2
    for machine in machines:
        found = core.read_node(machine.private_dns_name)
        assert found.spec.provider_id == f"aws:///{machine.zone}/{machine.instance_id}"
        assert found.metadata.labels["topology.kubernetes.io/zone"] == machine.zone
        assert found.metadata.labels["topology.kubernetes.io/region"] == "eu-central-1"
        assert found.metadata.labels["node.kubernetes.io/instance-type"] == "m6i.large"
        assert found.metadata.labels["kubernetes.io/hostname"] == machine.private_dns_name
        assert found.metadata.labels["pool"] == "workers"
        assert ready(core, machine.private_dns_name) == "True"
    assert {machine.zone for machine in machines} == {"eu-central-1a", "eu-central-1b"}


def test_a_kubelet_holds_its_lease_before_a_pod_can_be_bound_to_its_node(ground, launch, core):
    """No pod is bound to a Node whose kubelet would not hear of it: kwok hears of those whose lease it holds.

    https://kubernetes.io/docs/concepts/architecture/leases/#node-heart-beats
    """
    name = launch("base-1")["PrivateDnsName"]
    eventually(lambda: ready(core, name) == "True")
    eventually(lambda: created(ground, name) == ["leases", "nodes"])
    lease = client.CoordinationV1Api(core.api_client).read_namespaced_lease(name, "kube-node-lease")
    assert lease.spec.holder_identity == ground.clusters["test"].kwok_identity


def test_a_machine_on_an_image_that_never_joins_runs_without_a_node(launch, core, ec2):
    """An instance that runs is not yet a Node: for EC2 a machine that fails to join is as good as any.

    https://docs.aws.amazon.com/eks/latest/userguide/troubleshooting.html (Nodes fail to join cluster)
    """
    bad, good = launch("never"), launch("base-1")
    eventually(lambda: ready(core, good["PrivateDnsName"]) == "True")
    (reservation,) = ec2.describe_instances(InstanceIds=[bad["InstanceId"]])["Reservations"]
    assert reservation["Instances"][0]["State"]["Name"] == "running"
    assert node(core, bad["PrivateDnsName"]) is None


def test_a_machine_that_joins_not_ready_keeps_its_heartbeat_and_stays_not_ready(launch, core, api):
    """Ready is False by the kubelet's own word; Unknown is for nodes that nobody hears from.

    https://kubernetes.io/docs/reference/node/node-status/#condition
    """
    name = launch("not-ready")["PrivateDnsName"]
    eventually(lambda: ready(core, name) == "False")
    first = eventually(lambda: renewed(api, name))
    # Longer than the grace period: NotReady by its own word, not Unknown by silence.
    eventually(lambda: renewed(api, name) > first + dt.timedelta(seconds=GRACE_S + 1))
    assert ready(core, name) == "False"
    taints = {taint.key for taint in core.read_node(name).spec.taints}
    assert "node.kubernetes.io/not-ready" in taints


def test_a_machine_that_fails_later_is_ready_first(launch, core, api):
    """A node that was Ready may report itself NotReady at any time, while it goes on sending heartbeats.

    https://kubernetes.io/docs/reference/node/node-status/#condition
    """
    name = launch("later")["PrivateDnsName"]
    eventually(lambda: ready(core, name) == "True")
    eventually(lambda: ready(core, name) == "False")
    first = eventually(lambda: renewed(api, name))
    eventually(lambda: renewed(api, name) > first + dt.timedelta(seconds=GRACE_S + 1))
    assert ready(core, name) == "False"  # by its own word, not Unknown by silence


def test_a_stopped_machine_goes_unknown_by_missed_heartbeats_and_comes_back_when_started(launch, core, ec2):
    """Stopped, an instance keeps its identity, but no heartbeat arrives within node-monitor-grace-period.

    https://kubernetes.io/docs/reference/node/node-status/#heartbeats
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Stop_Start.html
    """
    machine = launch("base-1")
    name = machine["PrivateDnsName"]
    eventually(lambda: ready(core, name) == "True")
    ec2.stop_instances(InstanceIds=[machine["InstanceId"]])
    eventually(lambda: ready(core, name) == "Unknown")
    (said,) = ((one.reason, one.message) for one in node(core, name).status.conditions if one.type == "Ready")
    assert said == ("NodeStatusUnknown", "Kubelet stopped posting node status.")
    ec2.start_instances(InstanceIds=[machine["InstanceId"]])
    eventually(lambda: ready(core, name) == "True")


def test_a_terminated_machines_node_is_removed_after_a_while(launch, core, ec2):
    """The cloud controller deletes the Node of an instance that is no more.

    https://kubernetes.io/docs/concepts/architecture/cloud-controller/#node-controller
    """
    machine = launch("base-1")
    eventually(lambda: ready(core, machine["PrivateDnsName"]) == "True")
    ec2.terminate_instances(InstanceIds=[machine["InstanceId"]])
    eventually(lambda: node(core, machine["PrivateDnsName"]) is None)


def test_a_node_deleted_by_somebody_comes_back_only_with_the_next_boot(launch, core, ec2):
    """A kubelet registers its Node when it starts, and not again while it runs.

    https://kubernetes.io/docs/concepts/architecture/nodes/#self-registration-of-nodes
    """
    machine, later = launch("base-1"), None
    name = machine["PrivateDnsName"]
    eventually(lambda: ready(core, name) == "True")
    core.delete_node(name)
    later = launch("base-1")
    eventually(lambda: ready(core, later["PrivateDnsName"]) == "True")
    assert node(core, name) is None
    ec2.stop_instances(InstanceIds=[machine["InstanceId"]])
    ec2.get_waiter("instance_stopped").wait(
        InstanceIds=[machine["InstanceId"]], WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )
    ec2.start_instances(InstanceIds=[machine["InstanceId"]])
    eventually(lambda: ready(core, name) == "True")


def event(kind, instance_id, **changes):
    fields = {
        "kind": kind,
        "instance_id": instance_id,
        "image_id": "ami-1",
        "image_behaviour": "good",
        "fails_after": 0.0,
        "instance_type": "m6i.large",
        "zone": "eu-central-1a",
        "private_dns_name": "ip-10-9-9-9.eu-central-1.compute.internal",
        "region": "eu-central-1",
        "tags": {"kubernetes.io/cluster/test": "owned"},
        "group": None,
        "at": 0.0,
    }
    return InstanceEvent(**(fields | changes))


@pytest.fixture
def forgetful(ground):
    """An agent whose cloud controller never removes a Node."""
    timing = Timing(node_removal=None)
    agent = NodeAgent(ground.scenario.model_copy(update={"timing": timing}), ground.clusters)
    yield agent
    agent.stop()


def test_a_cloud_controller_that_never_removes_leaves_the_node_to_the_name_s_next_machine(forgetful, core):
    """Two Nodes can't have one name: who comes next with it is taken for the same Node, by its own providerID.

    https://kubernetes.io/docs/concepts/architecture/nodes/#node-name-uniqueness
    """
    name = "ip-10-9-9-9.eu-central-1.compute.internal"
    forgetful.handle(event("running", "i-old"))
    eventually(lambda: ready(core, name) == "True")
    forgetful.handle(event("terminated", "i-old"))
    eventually(lambda: ready(core, name) == "Unknown")
    forgetful.handle(event("running", "i-new"))
    eventually(lambda: (found := node(core, name)) and found.spec.provider_id.endswith("/i-new"))
    core.delete_node(name)


def test_a_machine_of_another_cluster_is_left_alone(forgetful, core):
    """What belongs to a cluster carries its tag.

    https://docs.aws.amazon.com/eks/latest/userguide/worker.html (kubernetes.io/cluster/NAME: owned)
    """
    forgetful.handle(event("running", "i-other", tags={"kubernetes.io/cluster/other": "owned"}))
    forgetful.handle(event("running", "i-mine", private_dns_name="ip-10-9-9-8.eu-central-1.compute.internal"))
    eventually(lambda: ready(core, "ip-10-9-9-8.eu-central-1.compute.internal") == "True")
    assert node(core, "ip-10-9-9-9.eu-central-1.compute.internal") is None
    core.delete_node("ip-10-9-9-8.eu-central-1.compute.internal")
