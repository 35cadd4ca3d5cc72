"""EKS managed node groups: described in few calls, updated under a client token."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from botocore.exceptions import ClientError

from node_rotation.clients.aws_calls import Calls
from node_rotation.clients.aws_errors import translated
from node_rotation.clients.text import short
from node_rotation.errors import ConflictError, GoneError
from node_rotation.managed.nodegroup import ManagedGroup, Trouble, Update
from node_rotation.model import TemplateVersion

_SERVICE = "eks"
QUIET = "ACTIVE"  # in this status of a group no update is in flight


class Nodegroups:
    """What EKS is asked and told about managed node groups.

    An update that is over never changes, so it is described once; ListUpdates answers ids only, in no order.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._over: dict[str, Update] = {}

    def managed_group(self, cluster: str, name: str, updates: Collection[str] = ()) -> ManagedGroup:
        """A node group with the update in flight and those of these ids.

        :raises GoneError: if there is none.
        """
        # The group after the updates: one that fails between two calls is told with the issues EKS found (else its
        # codes miss their cause, as AsgInstanceLaunchFailures).
        described = {update_id: self._described(cluster, name, update_id) for update_id in updates}
        with translated(_SERVICE, "DescribeNodegroup", f"node group {cluster}/{name}"):
            found = self._calls.eks.describe_nodegroup(clusterName=cluster, nodegroupName=name)["nodegroup"]
        if found.get("status") != QUIET:
            others = [update_id for update_id in self._ids(cluster, name) if update_id not in described]
            described |= {update_id: self._described(cluster, name, update_id) for update_id in others}
        shown = tuple(u for u in described.values() if u is not None and (u.in_flight or u.id in updates))
        return _group(found, shown, tuple(update_id for update_id in updates if described[update_id] is None))

    def update_managed_group(
        self,
        group: ManagedGroup,
        *,
        release: str = "",
        template: TemplateVersion | None = None,
        force: bool,
        token: str,
    ) -> Update:
        """UpdateNodegroupVersion to a release, or to a template version; the same token asks once.

        With a release the group's Kubernetes version is said as well: without it EKS takes the cluster's.

        :raises ConflictError: if another update is in flight.
        """
        asked: dict[str, Any] = {"version": group.version, "releaseVersion": release}
        if template is not None:
            address = {"id": template.id} if template.id else {"name": template.name}
            asked = {"launchTemplate": {**address, "version": template.version}}
        what = f"node group {group.label}"
        with translated(_SERVICE, "UpdateNodegroupVersion", what):
            try:
                answer = self._calls.eks.update_nodegroup_version(
                    clusterName=group.cluster, nodegroupName=group.name, force=force, clientRequestToken=token, **asked
                )
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") == "ResourceInUseException":
                    raise ConflictError(f"{what} is being updated already: {short(error)}") from error
                raise
        return _update(answer["update"])

    def _ids(self, cluster: str, name: str) -> list[str]:
        pages = self._calls.eks.get_paginator("list_updates")
        with translated(_SERVICE, "ListUpdates", f"node group {cluster}/{name}"):
            return [id for page in pages.paginate(name=cluster, nodegroupName=name) for id in page["updateIds"]]

    def _described(self, cluster: str, name: str, update_id: str) -> Update | None:
        """None if EKS does not know it: a group that was made anew has none of the updates of its namesake."""
        known = self._over.get(update_id)
        if known is not None:
            return known
        try:
            with translated(_SERVICE, "DescribeUpdate", f"update {update_id} of node group {cluster}/{name}"):
                answer = self._calls.eks.describe_update(name=cluster, nodegroupName=name, updateId=update_id)
        except GoneError:
            return None
        update = _update(answer["update"])
        if not update.in_flight:
            self._over[update_id] = update
        return update


def _group(found: Any, updates: tuple[Update, ...], unknown: tuple[str, ...]) -> ManagedGroup:
    groups = found.get("resources", {}).get("autoScalingGroups") or ()
    config = found.get("updateConfig") or {}
    template = found.get("launchTemplate")
    return ManagedGroup(
        cluster=found["clusterName"],
        name=found["nodegroupName"],
        status=found.get("status", ""),
        asg=groups[0]["name"] if groups else "",
        ami_type=found.get("amiType", ""),
        version=found.get("version", ""),
        release=found.get("releaseVersion", ""),
        template=_template(template) if template else None,
        max_unavailable=config.get("maxUnavailable"),
        max_unavailable_percentage=config.get("maxUnavailablePercentage"),
        minimal=config.get("updateStrategy") == "MINIMAL",
        issues=tuple(
            Trouble(i.get("code", ""), i.get("message", ""), tuple(i.get("resourceIds") or ()))
            for i in found.get("health", {}).get("issues") or ()
        ),
        updates=updates,
        unknown=unknown,
    )


def _template(found: Any) -> TemplateVersion:
    return TemplateVersion(name=found.get("name", ""), id=found.get("id", ""), version=str(found.get("version", "")))


def _update(found: Any) -> Update:
    return Update(
        id=found["id"],
        status=found.get("status", ""),
        type=found.get("type", ""),
        created_at=found["createdAt"].timestamp(),
        params={p["type"]: p.get("value", "") for p in found.get("params") or ()},
        errors=tuple(
            Trouble(e.get("errorCode", ""), e.get("errorMessage", ""), tuple(e.get("resourceIds") or ()))
            for e in found.get("errors") or ()
        ),
    )
