"""EKS' API of managed node groups as a plain state machine, the same behind the world in memory and the proving ground.

Source: https://docs.aws.amazon.com/eks/latest/APIReference/API_UpdateNodegroupVersion.html, API_UpdateNodegroupConfig,
API_DescribeUpdate and API_ListUpdates.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from node_rotation.errors import RotationError
from node_rotation.testing.managed_values import CUSTOM, MINIMAL, Nodegroup, Templates, UpdateFailed, UpdateRecord
from node_rotation.testing.scaling_values import AwsFault, GroupChange, TemplateRef

if TYPE_CHECKING:
    from node_rotation.testing.autoscaling import AutoScaling
    from node_rotation.testing.managed_roller import Roller
    from node_rotation.testing.scaling_values import Clock

MOST_AT_ONCE = 100


class ManagedGroups:
    """The managed node groups of one account and region.

    :param rollers: by cluster: who rolls its groups.
    :param lock: held around whatever touches a group's records.
    """

    def __init__(
        self,
        scaling: AutoScaling,
        templates: Templates,
        clock: Clock,
        rollers: Callable[[str], Roller],
        lock: AbstractContextManager[object],
    ) -> None:
        self._scaling, self._templates, self._clock = scaling, templates, clock
        self._rollers, self._lock = rollers, lock
        self._numbers = 0
        self.groups: dict[tuple[str, str], Nodegroup] = {}
        self.next_failure: UpdateFailed | None = None  # what goes wrong in the next update's scale up

    def create(self, group: Nodegroup) -> None:
        """CreateNodegroup, its Auto Scaling group there already."""
        self.groups[group.cluster, group.name] = group

    def group(self, cluster: str, name: str) -> Nodegroup:
        """:raises AwsFault: if there is no such group."""
        if (cluster, name) not in self.groups:
            raise AwsFault("ResourceNotFoundException", f"No node group found for name: {name}.", 404)
        return self.groups[cluster, name]

    def update(self, cluster: str, name: str, update_id: str) -> UpdateRecord:
        """:raises AwsFault: if the group has no such update."""
        found = self.group(cluster, name).updates.get(update_id)
        if found is None:
            raise AwsFault("ResourceNotFoundException", f"No update found for ID: {update_id}", 404)
        return found

    def update_version(
        self,
        cluster: str,
        name: str,
        *,
        version: str = "",
        release: str = "",
        template: TemplateRef | None = None,
        force: bool = False,
        token: str = "",
    ) -> UpdateRecord:
        """UpdateNodegroupVersion; an earlier update of the same token is answered again.

        :raises AwsFault: another update is in flight, or the request makes no sense.
        """
        group = self.group(cluster, name)
        if again := next((u for u in group.updates.values() if token and u.token == token), None):
            return again
        self._check_free(group)
        if group.ami_type == CUSTOM:
            image_id, params, aim = self._of_template(group, version, release, template)
        else:
            image_id, params, aim = self._of_release(group, version, release, template)
        update = self._record(group, "VersionUpdate", params, token, force=force)
        self._drive(self._roll(group, update, image_id, aim))
        return update

    def update_config(
        self,
        cluster: str,
        name: str,
        *,
        max_unavailable: int | None = None,
        max_unavailable_percentage: int | None = None,
        strategy: str = "",
        sizes: GroupChange | None = None,
        token: str = "",
    ) -> UpdateRecord:
        """UpdateNodegroupConfig: the update configuration and the sizes.

        :raises AwsFault: another update is in flight, or a number is out of bounds.
        """
        group = self.group(cluster, name)
        self._check_free(group)
        _check_config(max_unavailable, max_unavailable_percentage, strategy)
        params: list[tuple[str, str]] = []
        if max_unavailable is not None or max_unavailable_percentage is not None:
            group.max_unavailable = max_unavailable
            group.max_unavailable_percentage = max_unavailable_percentage
            kind = "MaxUnavailable" if max_unavailable is not None else "MaxUnavailablePercentage"
            params.append((kind, str(max_unavailable if max_unavailable is not None else max_unavailable_percentage)))
        if strategy:
            group.strategy = strategy
            params.append(("UpdateStrategy", strategy))
        if sizes is not None:
            self._scaling.update(group.asg, sizes)
        update = self._record(group, "ConfigUpdate", tuple(params), token)
        self._drive(self._configured(group, update))
        return update

    def _of_release(
        self, group: Nodegroup, version: str, release: str, template: TemplateRef | None
    ) -> tuple[str, tuple[tuple[str, str], ...], Callable[[], None]]:
        if template is not None and group.template is None:
            raise _invalid("You cannot specify a launch template: the node group was not created with one")
        wanted = version or group.version
        aimed = release or self._templates.newest(group.ami_type, wanted)
        try:
            image_id = self._templates.image_of(group.ami_type, wanted, aimed)
        except LookupError as error:
            raise _invalid(
                f"Requested release version {aimed} is not valid for kubernetes version {wanted}."
            ) from error

        def reached() -> None:
            group.version, group.release = wanted, aimed

        return image_id, (("Version", wanted), ("ReleaseVersion", aimed)), reached

    def _of_template(
        self, group: Nodegroup, version: str, release: str, template: TemplateRef | None
    ) -> tuple[str, tuple[tuple[str, str], ...], Callable[[], None]]:
        if version or release:
            raise _invalid("You cannot specify version or releaseVersion when using a custom AMI")
        ours = group.template
        if template is None or ours is None:
            raise _invalid("A node group with a custom AMI is updated by a launch template version")
        same = template.template_id in (None, ours.template_id) and template.template_name in (None, ours.template_name)
        if not same:
            raise _invalid("The launch template must be the one that the node group was created with")
        try:
            number, image_id = self._templates.resolve(
                TemplateRef(ours.template_id, ours.template_name, template.version)
            )
        except LookupError as error:
            raise _invalid(str(error)) from error

        def reached() -> None:
            group.template = TemplateRef(ours.template_id, ours.template_name, number)

        named = ("LaunchTemplateName", ours.template_name or "")
        return image_id, (named, ("LaunchTemplateVersion", number)), reached

    def _roll(
        self, group: Nodegroup, update: UpdateRecord, image_id: str, reached: Callable[[], None]
    ) -> Iterator[float]:
        try:
            self._templates.relaunch(group.asg, image_id)
            yield 0.0
            if failure := self._taken_failure():
                raise failure
            yield from self._rollers(group.cluster).roll(group, image_id, force=update.force)
            with self._lock:
                reached()
                update.status, group.status, group.issues = "Successful", "ACTIVE", ()
        except UpdateFailed as failed:
            self._failed(group, update, failed)
        except (AwsFault, LookupError) as error:
            self._failed(group, update, UpdateFailed("Unknown", str(error)))
        except RotationError as error:
            self._failed(group, update, UpdateFailed("ClusterUnreachable", str(error)))

    def _failed(self, group: Nodegroup, update: UpdateRecord, failed: UpdateFailed) -> None:
        with self._lock:
            update.errors = ((failed.code, failed.message, failed.resources),)
            update.status, group.status = "Failed", "DEGRADED" if group.issues else "ACTIVE"

    def _configured(self, group: Nodegroup, update: UpdateRecord) -> Iterator[float]:
        yield 1.0
        with self._lock:
            update.status, group.status = "Successful", "ACTIVE"

    def _taken_failure(self) -> UpdateFailed | None:
        failure, self.next_failure = self.next_failure, None
        return failure

    def _drive(self, phases: Iterator[float]) -> None:
        """Go on when it is time; every stretch between two pauses is one event of the clock."""

        def step() -> None:
            pause = next(phases, None)
            if pause is not None:
                self._clock.after(pause, step)

        self._clock.after(0.0, step)

    def _record(
        self, group: Nodegroup, kind: str, params: tuple[tuple[str, str], ...], token: str, *, force: bool = False
    ) -> UpdateRecord:
        self._numbers += 1
        update_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{group.cluster}/{group.name}/{self._numbers}"))
        update = UpdateRecord(update_id, kind, self._clock.now(), params, token=token, force=force)
        group.updates[update_id] = update
        group.status = "UPDATING"
        return update

    @staticmethod
    def _check_free(group: Nodegroup) -> None:
        if group.in_flight is not None:
            said = f"Nodegroup {group.name} is currently being updated; update {group.in_flight.id} is in progress"
            raise AwsFault("ResourceInUseException", said, 409)


def _check_config(number: int | None, percentage: int | None, strategy: str) -> None:
    if number is not None and percentage is not None:
        raise _invalid("You can specify maxUnavailable or maxUnavailablePercentage, not both")
    found = number if number is not None else percentage
    if found is not None and not 1 <= found <= MOST_AT_ONCE:
        raise _invalid(f"Update configuration {found} is not between 1 and {MOST_AT_ONCE}")
    if strategy not in ("", "DEFAULT", MINIMAL):
        raise _invalid(f"Unknown update strategy {strategy}")


def _invalid(message: str) -> AwsFault:
    return AwsFault("InvalidParameterException", message)
