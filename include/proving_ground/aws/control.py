"""The proving ground's own calls under ``/_proving-ground/``: no part of AWS, never in the request log."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from node_rotation.testing.scaling_values import AwsFault
from proving_ground.aws.intake import IntakeRefusedError
from proving_ground.scenario import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proving_ground.aws.world import AwsWorld

PREFIX = "/_proving-ground/"


def answer(world: AwsWorld, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """Do one control call.

    :return: HTTP status and a JSON object; an error says what to correct.
    """
    action = _ACTIONS.get((method, path.removeprefix(PREFIX).strip("/")))
    if action is None:
        known = ", ".join(f"{verb} {PREFIX}{name}" for verb, name in _ACTIONS)
        return 404, {"error": f"there is no {method} {path}; there are: {known}"}
    try:
        return 200, action(world, json.loads(body) if body else {})
    except IntakeRefusedError as error:
        return 500, {"error": str(error)}
    except KeyError as error:
        return 400, {"error": f"{method} {path} needs the key {error}"}
    except (AwsFault, LookupError, TypeError, ValueError, ValidationError) as error:
        return 400, {"error": str(error)}


def _publish(world: AwsWorld, asked: Mapping[str, Any]) -> dict[str, Any]:
    return {"image_id": world.publish(**asked)}


def _behaviour(world: AwsWorld, asked: Mapping[str, Any]) -> dict[str, Any]:
    with world.lock:
        world.images.set_behaviour(asked["image"], asked["behaviour"], asked.get("fails_after", 5.0))
        return {"image_id": world.images.find(asked["image"])}


def _fault(world: AwsWorld, asked: Mapping[str, Any]) -> dict[str, Any]:
    fault = Fault.model_validate(asked)
    world.faults.add(fault)
    return fault.model_dump()


def _clear_faults(world: AwsWorld, asked: Mapping[str, Any]) -> dict[str, Any]:
    world.faults.clear()
    return {}


def _instance_state(world: AwsWorld, asked: Mapping[str, Any]) -> dict[str, Any]:
    """AWS takes an instance away: ``terminated`` (as a Spot reclaim does), ``stopped``, or ``running``."""
    changes: dict[str, Callable[[str], None]] = {
        "terminated": lambda instance_id: world.machines.terminate(instance_id, lambda: None),
        "stopped": world.machines.stop,
        "running": world.machines.start,
    }
    if asked["state"] not in changes:
        raise ValueError(f"state {asked['state']!r} is none of {', '.join(changes)}")
    with world.lock:
        changes[asked["state"]](asked["instance_id"])
        return {"instance_id": asked["instance_id"], "state": world.machines.state(asked["instance_id"])}


def _cluster(world: AwsWorld, asked: Mapping[str, Any]) -> dict[str, Any]:
    world.register_cluster(**asked)
    return {"name": asked["name"]}


def _intake(world: AwsWorld, asked: Mapping[str, Any]) -> dict[str, Any]:
    """A cluster's acceptance of new installations, for rotations that close it: cluster, open."""
    world.intakes.set(str(asked["cluster"]), open_=bool(asked["open"]))
    return {"closed": world.intakes.closed}


def _intakes(world: AwsWorld, asked: Mapping[str, Any]) -> dict[str, Any]:
    return {"closed": world.intakes.closed, "said": world.intakes.said, "said_at": world.intakes.said_at}


def _intake_refuses(world: AwsWorld, asked: Mapping[str, Any]) -> dict[str, Any]:
    world.intakes.refuses = int(asked["times"])
    return {"times": world.intakes.refuses}


def _state(world: AwsWorld, asked: Mapping[str, Any]) -> dict[str, Any]:
    with world.lock:
        groups = [
            {
                "name": group.name,
                "min": group.min_size,
                "max": group.max_size,
                "desired": group.desired,
                "suspended": sorted(group.suspended),
                "members": {m.instance_id: m.lifecycle.value for m in group.members.values()},
                "tags": {tag.key: tag.value for tag in group.tags.values()},
            }
            for group in world.autoscaling.groups.values()
        ]
        instances = [asdict(event) for event in world.machines.current()]
    return {"account": world.account, "region": world.region, "groups": groups, "instances": instances}


_ACTIONS: dict[tuple[str, str], Callable[[AwsWorld, Mapping[str, Any]], dict[str, Any]]] = {
    ("GET", "state"): _state,
    ("POST", "publish"): _publish,
    ("POST", "behaviour"): _behaviour,
    ("POST", "fault"): _fault,
    ("POST", "clear-faults"): _clear_faults,
    ("POST", "instance-state"): _instance_state,
    ("POST", "cluster"): _cluster,
    ("GET", "intake"): _intakes,
    ("POST", "intake"): _intake,
    ("POST", "intake-refuses"): _intake_refuses,
}
