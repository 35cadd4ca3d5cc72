from __future__ import annotations

import json
import threading

from proving_ground.aws.events import InstanceEvent

from .support import REGION, Aws, until


def heard(aws: Aws) -> list[InstanceEvent]:
    events: list[InstanceEvent] = []
    aws.server.world.subscribe(events.append)
    return events


def test_a_subscriber_hears_every_state_in_order(aws: Aws) -> None:
    events, threads = heard(aws), set[str]()
    aws.server.world.subscribe(lambda event: threads.add(threading.current_thread().name))
    group = aws.group(1, Tags=[{"Key": "kubernetes.io/cluster/x", "Value": "owned", "PropagateAtLaunch": True}])
    member = aws.ids(group)[0]
    aws.ec2.stop_instances(InstanceIds=[member])
    until(lambda: [e for e in events if e.instance_id == member and e.kind == "terminated"])

    mine = [event for event in events if event.instance_id == member]
    # Stopping fails the health check, so that Auto Scaling terminates it, perhaps before it has stopped.
    kinds = [event.kind for event in mine if event.kind != "stopped"]
    assert kinds == ["launched", "running", "stopping", "shutting-down", "terminated"]
    first = mine[0]
    assert (first.group, first.zone, first.region) == (group, f"{REGION}a", REGION)
    assert first.tags["kubernetes.io/cluster/x"] == "owned"
    assert {event.private_dns_name for event in mine} == {first.private_dns_name}
    assert [event.at for event in mine] == sorted(event.at for event in mine)
    assert len(threads) == 1


def test_a_late_joiner_asks_for_what_there_is(aws: Aws) -> None:
    group = aws.group(1)
    current = {event.instance_id: event for event in aws.server.world.instances()}
    assert current[aws.ids(group)[0]].kind == "running"
    assert not {event.kind for event in current.values()} & {"terminated"}


def test_an_event_tells_how_its_image_behaves(aws: Aws) -> None:
    events = heard(aws)
    aws.group(1, LaunchTemplate={"LaunchTemplateName": aws.template("fragile")})
    found = until(lambda: [event for event in events if event.image_behaviour != "good"])[0]
    assert (found.image_behaviour, found.fails_after) == ("fails-later", 7.0)


def test_a_failing_subscriber_does_not_silence_the_others(aws: Aws) -> None:
    def fail(event: InstanceEvent) -> None:
        raise ValueError("mine")

    aws.server.world.subscribe(fail)
    events = heard(aws)
    try:
        group = aws.group(1)
        until(lambda: [event for event in events if event.group == group and event.kind == "running"])
    finally:
        aws.server.world.events.unsubscribe(fail)


def test_events_are_written_down_for_observers(aws: Aws) -> None:
    group = aws.group(1)
    member = aws.ids(group)[0]
    lines = [json.loads(line) for line in aws.server.world.events.path.read_text().splitlines()]
    mine = [line for line in lines if line.get("instance_id") == member]
    assert [line["kind"] for line in mine] == ["launched", "running"]
    assert (mine[0]["group"], mine[0]["image_id"]) == (group, aws.image("base-1"))
