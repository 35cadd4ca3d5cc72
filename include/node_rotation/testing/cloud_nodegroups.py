"""The EKS half of the ``Cloud`` protocol, in memory."""

from __future__ import annotations

from collections.abc import Collection

from node_rotation.errors import ConflictError, GoneError, PermanentError
from node_rotation.managed.nodegroup import ManagedGroup, Trouble, Update
from node_rotation.model import TemplateVersion
from node_rotation.testing.faults import Journal
from node_rotation.testing.managed_groups import ManagedGroups
from node_rotation.testing.managed_values import MINIMAL, Nodegroup, UpdateRecord
from node_rotation.testing.scaling_values import AwsFault, TemplateRef


class MemoryNodegroups:
    """Managed node groups as a rotation sees them; every call goes through the journal."""

    def __init__(self, eks: ManagedGroups, journal: Journal) -> None:
        self._eks, self._calls = eks, journal

    def managed_group(self, cluster: str, name: str, updates: Collection[str] = ()) -> ManagedGroup:
        """A node group with the update in flight and those of these ids; :raises GoneError: if there is none."""
        self._calls.read("eks", "DescribeNodegroup")
        try:
            found = self._eks.group(cluster, name)
        except AwsFault as fault:
            raise GoneError(f"{cluster}/{name}: {fault} ({fault.code})") from fault
        shown = [u for u in found.updates.values() if u.status == "InProgress" or u.id in updates]
        unknown = tuple(update_id for update_id in updates if not self._knows(cluster, name, update_id))
        return _group(found, tuple(_update(update) for update in shown), unknown)

    def _knows(self, cluster: str, name: str, update_id: str) -> bool:
        """What DescribeUpdate says of an update: a group that was made anew has none of its namesake's."""
        try:
            self._eks.update(cluster, name, update_id)
        except AwsFault:
            return False
        return True

    def update_managed_group(
        self,
        group: ManagedGroup,
        *,
        release: str = "",
        template: TemplateVersion | None = None,
        force: bool,
        token: str,
    ) -> Update:
        """UpdateNodegroupVersion; :raises ConflictError: if another update is in flight."""
        version = "" if template is not None else group.version
        ref = TemplateRef(template.id or None, template.name or None, template.version) if template else None
        try:
            with self._calls.mutation("eks", "UpdateNodegroupVersion", group=group.label, token=token, force=force):
                found = self._eks.update_version(
                    group.cluster,
                    group.name,
                    version=version,
                    release=release,
                    template=ref,
                    force=force,
                    token=token,
                )
        except AwsFault as fault:
            error = ConflictError if fault.code == "ResourceInUseException" else PermanentError
            raise error(f"{group.label}: {fault} ({fault.code})") from fault
        return _update(found)


def _group(found: Nodegroup, updates: tuple[Update, ...], unknown: tuple[str, ...]) -> ManagedGroup:
    ours = found.template
    template = None
    if ours is not None:
        template = TemplateVersion(name=ours.template_name or "", id=ours.template_id or "", version=ours.version)
    return ManagedGroup(
        cluster=found.cluster,
        name=found.name,
        status=found.status,
        asg=found.asg,
        ami_type=found.ami_type,
        version=found.version,
        release=found.release,
        template=template,
        max_unavailable=found.max_unavailable,
        max_unavailable_percentage=found.max_unavailable_percentage,
        minimal=found.strategy == MINIMAL,
        issues=tuple(Trouble(*issue) for issue in found.issues),
        updates=updates,
        unknown=unknown,
    )


def _update(found: UpdateRecord) -> Update:
    errors = tuple(Trouble(*error) for error in found.errors)
    return Update(found.id, found.status, found.type, found.created_at, dict(found.params), errors)
