"""Warm pools: machines beside a group that become members on the image they were warmed with.

They are no machines of the cluster, and no batch replaces them: those on another image than the group launches now are
terminated, undrained as nothing runs on them, and the group warms others (ADR 32; Auto Scaling user guide, "Warm
pools"). One that has left the pool already is a member like any other.
"""

from __future__ import annotations

from node_rotation import lock
from node_rotation.errors import GoneError
from node_rotation.run import Run
from node_rotation.steps.scene import gone
from node_rotation.world.aws import ScalingGroup

GOING = "Warmed:Terminating"


def stale(run: Run, group: ScalingGroup) -> tuple[str, ...]:
    """Ids of warm machines on an image that the group does not launch (any more); nothing is asked without a pool."""
    if not group.warm_pool:
        return ()
    warm = [m.instance_id for m in run.cloud.warm_members(group.name) if not m.lifecycle.startswith(GOING)]
    if not warm:
        return ()
    found = run.cloud.instances(warm)
    templates = {group.template, *(spec for spec in group.overrides if spec is not None)}
    launched = {run.cloud.template(spec).image_id for spec in templates}
    launched.update(group.override_images.values())
    return tuple(i for i in warm if i in found and not gone(found[i]) and found[i].image_id not in launched)


def renew(run: Run, group: ScalingGroup) -> tuple[str, ...]:
    """Terminate the stale ones; again is fine.

    :returns: one line per machine.
    """
    machines = stale(run, group)
    for machine in machines:
        lock.require(run)
        try:
            run.cloud.terminate(machine)
        except GoneError:
            continue
    return tuple(
        f"warm machine {machine} of group {group.name} is terminated, another is warmed" for machine in machines
    )
