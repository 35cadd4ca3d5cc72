"""Settings of a whole cluster: read from its policy alone, so that a node group's own would not be heard. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from node_rotation.errors import BadInputError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from node_rotation.configuration.clusters import Cluster
    from node_rotation.policy import Policy

_AT_ONCE = "a run begins for all groups of a cluster at once"
_TOGETHER = "what is in flight counts for the whole cluster"
OF_CLUSTERS: Mapping[str, str] = {
    "mode": _AT_ONCE,
    "windows": _AT_ONCE,
    "blackouts": _AT_ONCE,
    "promotion": _AT_ONCE,
    "approval": "a plan is approved as a whole",
    "intake": "a cluster takes new installations or it does not",
    "notify": "a run is told of once, for all groups of a cluster",
    "autoscaler": "there is one for all groups of a cluster",
    "control_plane": "a control plane is all its node groups together",
    "lock_duration": "a cluster has one lock",
    "budget.cluster_slots": _TOGETHER,
}
"""Setting → why no node group has it for itself. What is for a single run only is refused in any file (flow checks)."""


def check(cluster: Cluster, name: str) -> None:
    """Refuse node groups that say for themselves what is read of their cluster alone.

    :param name: ``environment.cluster``.
    :raises BadInputError: names the group, the setting and where it belongs.
    """
    for where, policy in _own(cluster, name):
        for setting, why in OF_CLUSTERS.items():
            if _says(policy, setting):
                raise BadInputError(
                    f"{where}: {setting}",
                    f"belongs to a whole cluster, not to one of its node groups: {why}.",
                    f"Move it to the policy of cluster {cluster.name}, or of its environment.",
                )


def _own(cluster: Cluster, name: str) -> Iterator[tuple[str, Policy]]:
    """The policies that groups have for themselves, by where they stand."""
    for group in cluster.groups:
        yield f"node group {group.name} of {name}", group.policy
    for group_name, policy in (cluster.kops.policies if cluster.kops else {}).items():
        yield f"{name}: kops.policies.{group_name}", policy


def _says(policy: BaseModel, setting: str) -> bool:
    """Whether a policy says something of a setting, be it what holds anyway.

    :param setting: its path, e.g. ``budget.cluster_slots``.
    """
    first, _, rest = setting.partition(".")
    if first not in policy.model_fields_set:
        return False
    return not rest or _says(getattr(policy, first), rest)
