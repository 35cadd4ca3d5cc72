"""Look at one cluster: a snapshot that all who wait share, and the drift of a node group."""

from __future__ import annotations

from datetime import datetime

from node_rotation.fleet import Settings
from node_rotation.model import GroupDrift, Plan
from node_rotation.run import Look, Run
from node_rotation.world import Clock, Cloud, Cluster, Snapshot


def observe(settings: Settings, cloud: Cloud, cluster: Cluster, clock: Clock) -> Snapshot:
    """Observe a cluster: its groups, machines, orphans, nodes, pods, budgets, workloads and lock.

    :raises BadInputError: if a group of the fleet does not exist.
    """
    raise NotImplementedError


def detect(
    settings: Settings,
    group: str,
    cloud: Cloud,
    cluster: Cluster,
    clock: Clock,
    as_of: datetime | None = None,
    image: str | None = None,
    snapshot: Snapshot | None = None,
) -> GroupDrift:
    """Say which machines of a node group are not what they should be, and why. Reads only.

    :param group: the node group's name in the fleet.
    :param as_of: what would have been the image then; None is now.
    :param image: an image id that overrides the policy's source.
    :param snapshot: an observation to reuse for several groups.
    """
    raise NotImplementedError


def make_run(
    run_id: str, plan: Plan, settings: Settings, cloud: Cloud, cluster: Cluster, clock: Clock, look: Look | None = None
) -> Run:
    """Everything the steps need.

    :param run_id: the lock's holder, and what residue is named after.
    :param look: a look shared with other runs of this process; made anew if None.
    """
    raise NotImplementedError
