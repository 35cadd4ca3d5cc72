"""When a machine must not be detached from its group.

DetachInstances deregisters from the group's target groups and Classic Load Balancers at once, before anybody has come
for the machine (https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DetachInstances.html). And it leaves by
way of Detaching and Detached: terminating hooks act when the group terminates a machine, so one that is detached and
then terminated through EC2 never meets them
(https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-lifecycle.html).
"""

from __future__ import annotations

from node_rotation.outcome import Blocked
from node_rotation.scaling.hooks import TERMINATING
from node_rotation.scaling.targets import label
from node_rotation.world.aws import ScalingGroup

REMEDY = "use strategy: surge, or accept it with allow_detach_behind_load_balancer: true"


def refusal(group: ScalingGroup, *, allowed: bool, remedy: str = REMEDY) -> Blocked | None:
    """Why machines are not detached from a group, or None.

    :param allowed: the policy's ``allow_detach_behind_load_balancer``.
    """
    traffic = (*map(label, group.target_groups), *(f"load balancer {name}" for name in group.load_balancers))
    hooks = tuple(f"hook {hook.name}" for hook in group.hooks_of(TERMINATING))
    if allowed or not (traffic or hooks):
        return None
    why = []
    if traffic:
        why.append(f"takes them out of {' and '.join(traffic)} before their replacements serve")
    if hooks:
        why.append(f"bypasses the terminating {' and '.join(hooks)}")
    return Blocked(f"detaching machines from {group.name} {' and '.join(why)}", (*traffic, *hooks), remedy)
