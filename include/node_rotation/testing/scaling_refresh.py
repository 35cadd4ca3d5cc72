"""Instance refresh: somebody else's rolling replacement of a group, without drains.

Terminate first and launch then, in batches that leave the minimum healthy percentage in service, at least one machine
at a time. Sources: https://docs.aws.amazon.com/autoscaling/ec2/userguide/instance-refresh-overview.html,
.../understand-instance-refresh-default-values.html, .../APIReference/API_InstanceRefresh.html. Checkpoints, bake time
and rollback are not part of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from node_rotation.testing import scaling_activity as words
from node_rotation.testing.scaling_values import AwsFault, Group, Lifecycle, Member

if TYPE_CHECKING:
    from collections.abc import Mapping

    from node_rotation.testing.scaling_reconciler import Reconciler

DEFAULT_HEALTHY = 90
ACTIVE = ("Pending", "InProgress", "Cancelling")


def start(reconciler: Reconciler, group: Group, preferences: Mapping[str, Any]) -> str:
    """StartInstanceRefresh.

    :raises AwsFault: while another one is active.
    """
    if any(refresh["Status"] in ACTIVE for refresh in group.refreshes):
        raise AwsFault(
            "InstanceRefreshInProgress",
            "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.",
        )
    refresh: dict[str, Any] = {
        "InstanceRefreshId": reconciler.new_id(),
        "AutoScalingGroupName": group.name,
        "Status": "Pending",
        "StartTime": reconciler.clock.now(),
        "PercentageComplete": 0,
        "InstancesToUpdate": len(group.live()),
        "Preferences": dict(preferences),
    }
    group.refreshes.insert(0, refresh)
    _Refresh(reconciler, group, refresh).later()
    return str(refresh["InstanceRefreshId"])


def cancel(group: Group) -> str:
    """CancelInstanceRefresh: what is being replaced is finished, nothing else begun.

    :raises AwsFault: if none is active.
    """
    for refresh in group.refreshes:
        if refresh["Status"] in ("Pending", "InProgress"):
            refresh.update(Status="Cancelling")
            return str(refresh["InstanceRefreshId"])
    raise AwsFault(
        "ActiveInstanceRefreshNotFound",
        f"No in progress or pending Instance Refresh found for Auto Scaling group {group.name}",
    )


class _Refresh:
    """One refresh at work, a look every reconciliation."""

    def __init__(self, reconciler: Reconciler, group: Group, refresh: dict[str, Any]) -> None:
        self._reconciler, self._group, self._refresh = reconciler, group, refresh
        skipped = refresh["Preferences"].get("SkipMatching", False)
        members = [m for m in group.live() if not (skipped and self._matches(m))]
        self._targets = [m.instance_id for m in members]
        self._total = len(self._targets)
        self._since: dict[str, float] = {}

    def later(self) -> None:
        """Look again soon."""
        self._reconciler.clock.after(self._reconciler.reconcile_s, self._look)

    def _look(self) -> None:
        refresh, group = self._refresh, self._group
        left = [m for i in self._targets if (m := group.members.get(i)) is not None and m.alive]
        settled = self._warm() >= group.desired
        if refresh["Status"] == "Cancelling":
            if settled:
                refresh.update(Status="Cancelled", EndTime=self._reconciler.clock.now())
                return
        elif not left and settled:
            self._show(0)
            refresh.update(Status="Successful", EndTime=self._reconciler.clock.now())
            return
        else:
            refresh.update(Status="InProgress")
            self._replace(left)
            self._show(len(left))
        self.later()

    def _show(self, left: int) -> None:
        done = 100 * (self._total - left) // self._total if self._total else 100
        self._refresh.update(PercentageComplete=done, InstancesToUpdate=left)

    def _replace(self, left: list[Member]) -> None:
        """As many as may go now; protected ones are waited for, as by default of the API."""
        group, now = self._group, self._reconciler.clock.now()
        healthy = self._refresh["Preferences"].get("MinHealthyPercentage", DEFAULT_HEALTHY)
        minimum = min(math.ceil(group.desired * healthy / 100), group.desired - 1)
        room = self._warm() - minimum
        for member in [m for m in left if not m.protected and m.lifecycle is Lifecycle.IN_SERVICE][: max(room, 0)]:
            self._reconciler.take_out(group, member, words.refreshed(now))

    def _warm(self) -> int:
        """Members in service, past their warm-up."""
        group, now = self._group, self._reconciler.clock.now()
        warmup = self._refresh["Preferences"].get("InstanceWarmup", group.attributes.get("HealthCheckGracePeriod", 0))
        serving = [m.instance_id for m in group.live() if m.lifecycle is Lifecycle.IN_SERVICE]
        before = {i: now - warmup for i in self._targets}
        self._since = {i: self._since.get(i, before.get(i, now)) for i in serving}
        return sum(now - since >= warmup for since in self._since.values())

    def _matches(self, member: Member) -> bool:
        return member.blueprint == self._reconciler.blueprint(self._group)
