"""What only the layers of a policy together can get wrong: an image step without its means, a group's own intake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node_rotation.errors import BadInputError
from node_rotation.model import ImageStep

if TYPE_CHECKING:
    from node_rotation.fleet import Settings

_MEANS = {ImageStep.COMMAND: "image_command", ImageStep.POD: "image_pod"}


def check(settings: Settings, by_run: bool) -> None:
    """Refuse what can't be carried out.

    :param by_run: the run's parameters are in it, so they are to blame.
    :raises BadInputError: names the group and the setting.
    """
    for group, policy in settings.groups.items():
        where = "run parameters" if by_run else f"node group {group} of {settings.name}"
        means = _MEANS.get(policy.image_step)
        if means is not None and getattr(policy, means) is None:
            remedy = f"Add {means} to the policy, or choose another image step; docs/image-steps.md has examples."
            raise BadInputError(
                f"{where}: image_step", f"{policy.image_step} needs {means}, and there is none.", remedy
            )
        if policy.intake != settings.policy.intake:
            remedy = "Move it to the cluster's policy, or its environment's."
            raise BadInputError(f"{where}: intake", "belongs to a whole cluster, not to one of its groups.", remedy)
