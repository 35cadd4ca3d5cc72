"""The asynchronous half of Auto Scaling: it notices differences a little later and acts on them.

Sources: https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-suspend-resume-processes.html (what each
process does), https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-health-checks.html
"""

from __future__ import annotations

import random
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from node_rotation.testing import scaling_activity as words
from node_rotation.testing import scaling_warm
from node_rotation.testing.scaling_activity import Activity, Status
from node_rotation.testing.scaling_placement import imbalance, poorest_first, victims
from node_rotation.testing.scaling_transitions import Transitions
from node_rotation.testing.scaling_values import Launch, LaunchFailed, Lifecycle, Member, Override

if TYPE_CHECKING:
    from collections.abc import Iterator

    from node_rotation.testing.scaling_values import (
        Blueprint,
        Clock,
        Compute,
        Faults,
        Group,
        Place,
        TemplateRef,
    )
    from node_rotation.testing.targets import Targets

_RUNS = ("pending", "running")


class Reconciler:
    """Brings a group's members to its desired capacity, one coalesced pass at a time.

    :param reconcile_s: seconds from a change to the pass that sees it.
    :param retry_s: seconds after a failed launch until the next try.
    """

    def __init__(
        self,
        compute: Compute,
        clock: Clock,
        faults: Faults,
        *,
        reconcile_s: float = 0.2,
        retry_s: float = 2.0,
        seed: int = 1,
        targets: Targets | None = None,
    ) -> None:
        self.compute, self.clock, self.faults = compute, clock, faults
        self.reconcile_s, self.retry_s = reconcile_s, retry_s
        self._ids = random.Random(seed)
        self.transitions = Transitions(clock, targets, self.new_id)

    def new_id(self) -> str:
        """An identifier, reproducible by the seed."""
        return str(uuid.UUID(int=self._ids.getrandbits(128), version=4))

    def kick(self, group: Group) -> None:
        """Have the group looked at soon; many causes, one pass."""
        if not group.kicked:
            group.kicked = True
            self.clock.after(self.reconcile_s, lambda: self._pass(group))

    def record(
        self, group: Group, description: str, cause: str, *, zone: str | None = None, ended: Status | None = None
    ) -> Activity:
        """Begin an activity, or note one that has ended already."""
        activity = Activity(self.new_id(), group.name, description, cause, self.clock.now(), zone=zone)
        if ended:
            activity.finish(self.clock.now(), ended)
        group.activities.insert(0, activity)
        return activity

    def take_out(self, group: Group, member: Member, cause: str) -> Activity:
        """Terminate a member, once target groups and hooks let it; it leaves the group when EC2 says it is gone."""
        now = self.clock.now()
        activity = self.record(group, f"Terminating EC2 instance: {member.instance_id}", cause, zone=member.zone)
        if member.activity:
            member.activity.finish(now, Status.CANCELLED)
        member.lifecycle, member.activity = Lifecycle.TERMINATING, activity

        def gone() -> None:
            group.members.pop(member.instance_id, None)
            activity.finish(self.clock.now())
            self.kick(group)

        self.transitions.leave(group, member, lambda: self.compute.terminate(member.instance_id, gone))
        self.kick(group)
        return activity

    def _pass(self, group: Group) -> None:
        group.kicked = False
        asked = "  ".join(group.asked) + "  " if group.asked else ""
        group.asked.clear()
        self._check_health(group)
        self._replace_unhealthy(group)
        arriving = sum(m.weight for m in group.live() if m.rebalances and m.arriving)
        surplus = group.capacity() - arriving - group.desired
        if surplus < 0:
            self._grow(group, asked)
        elif surplus > 0:
            self._shrink(group, surplus, asked)
        elif not arriving:
            self._rebalance(group)
        if group.warm_pool is not None or group.pool:
            place = poorest_first(group)[0]
            scaling_warm.refill(self.compute, self.clock, group, place, lambda: self.blueprint(group))

    def _check_health(self, group: Group) -> None:
        if not group.runs("HealthCheck"):
            return
        for member in group.live():
            runs = self.compute.state(member.instance_id) in _RUNS
            if not runs or self.transitions.unserved(group, member):
                member.healthy = False  # AWS never takes this back by itself

    def _replace_unhealthy(self, group: Group) -> None:
        if not (group.runs("ReplaceUnhealthy") and group.runs("Terminate")):
            return
        for member in group.live():
            if not member.healthy:
                runs = self.compute.state(member.instance_id) in _RUNS
                by_balancer = runs and self.transitions.unserved(group, member)
                cause = words.unhealthy(self.clock.now(), by_user=runs, by_balancer=by_balancer)
                self.take_out(group, member, cause)

    def _grow(self, group: Group, asked: str) -> None:
        now = self.clock.now()
        if not group.runs("Launch") or now < group.retry_at:
            return
        cause = asked + words.grow(now, group.capacity(), group.desired)
        while group.capacity() < group.desired and self._from_pool(group, cause):
            pass
        while group.capacity() < group.desired:
            if not self._launch(group, poorest_first(group), cause):
                break

    def _from_pool(self, group: Group, cause: str) -> bool:
        member = scaling_warm.take(self.compute, group)
        if member is None:
            return False
        said = f"Launching a new EC2 instance from warm pool: {member.instance_id}"
        member.activity = self.record(group, said, cause, zone=member.zone)
        self.compute.on_running(member.instance_id, lambda: self._in_service(group, member))
        return True

    def _shrink(self, group: Group, surplus: int, asked: str) -> None:
        if not group.runs("Terminate"):
            return
        have, now = group.capacity(), self.clock.now()
        chosen = victims(group, surplus)
        for member in chosen:
            self.take_out(group, member, asked + words.shrink(now, have, group.desired, member.instance_id))
        if not chosen and all(member.protected for member in group.live()):
            self._note_protected(group)

    def _note_protected(self, group: Group) -> None:
        if group.activities and group.activities[0].message == words.PROTECTED:
            return
        cause = f"At {words.stamp(self.clock.now())} {words.PROTECTED}"
        self.record(group, words.PROTECTED, cause, ended=Status.FAILED).message = words.PROTECTED

    def _rebalance(self, group: Group) -> None:
        """Launch in the poor zone; the pass after it is in service takes from the rich one."""
        processes = ("AZRebalance", "Launch", "Terminate")
        settled = all(member.lifecycle is Lifecycle.IN_SERVICE for member in group.members.values())
        if not settled or not all(group.runs(p) for p in processes) or self.clock.now() < group.retry_at:
            return
        if uneven := imbalance(group):
            poor, rich = uneven
            self._launch(group, [poor], words.rebalance(self.clock.now(), rich), rebalances=True)

    def _launch(self, group: Group, places: list[Place], cause: str, *, rebalances: bool = False) -> bool:
        """Try the places in order and in each the types in order, as AWS falls over; say if none worked."""
        reason = "No Availability Zone is left to launch in."
        try:
            for place, override, blueprint in self._choices(group, places):
                others = tuple(other.zone for other in group.places if other.zone != place.zone)
                dry = self.faults.capacity(blueprint.instance_type, place.zone, others)
                if dry is None:
                    member = self._start(group, place, override, blueprint, cause)
                    member.rebalances = rebalances
                    return True
                reason = dry
        except (LaunchFailed, LookupError) as error:
            reason = str(error)
        reason += words.LAUNCH_FAILED
        failed = self.record(
            group, f"Launching a new EC2 instance.  Status Reason: {reason}", cause, ended=Status.FAILED
        )
        failed.message = reason
        group.retry_at = self.clock.now() + self.retry_s
        self.clock.after(self.retry_s, lambda: self.kick(group))
        return False

    def _choices(self, group: Group, places: list[Place]) -> Iterator[tuple[Place, Override, Blueprint]]:
        for place in places:
            for override in group.source.overrides or (Override(),):
                yield place, override, self.blueprint(group, override)

    def blueprint(self, group: Group, override: Override | None = None) -> Blueprint:
        """What the group would launch now; ``$Latest`` and ``$Default`` become numbers here."""
        override = override or (*group.source.overrides, Override())[0]
        source: TemplateRef | str | None = override.template or group.source.template or group.source.configuration
        if source is None:
            raise LaunchFailed("The group has neither a launch template nor a launch configuration.")
        found = self.compute.blueprint(source)
        return replace(
            found,
            instance_type=override.instance_type or found.instance_type,
            image_id=override.image_id or found.image_id,
        )

    def _start(self, group: Group, place: Place, override: Override, blueprint: Blueprint, cause: str) -> Member:
        tags = {tag.key: tag.value for tag in group.tags.values() if tag.propagate}
        instance_id = self.compute.launch(Launch(group.name, blueprint, place, tags))
        activity = self.record(group, f"Launching a new EC2 instance: {instance_id}", cause, zone=place.zone)
        member = Member(
            instance_id,
            blueprint,
            place.zone,
            self.clock.now(),
            protected=group.new_instances_protected,
            weight=override.weight,
            activity=activity,
        )
        group.members[instance_id] = member
        self.compute.on_running(instance_id, lambda: self._runs(group, member))
        return member

    def _runs(self, group: Group, member: Member) -> None:
        if member.lifecycle is Lifecycle.PENDING and member.instance_id in group.members:
            serve, abandon = lambda: self._in_service(group, member), lambda: self._abandoned(group, member)
            self.transitions.arrive(group, member, serve, abandon)

    def _in_service(self, group: Group, member: Member) -> None:
        member.lifecycle, member.rebalances = Lifecycle.IN_SERVICE, False
        member.in_service_at = self.clock.now()
        if member.activity:
            member.activity.finish(self.clock.now())
        grace_s = float(group.attributes.get("HealthCheckGracePeriod") or 0)
        if grace_s and group.target_groups:
            self.clock.after(grace_s, lambda: self.kick(group))
        self.kick(group)

    def _abandoned(self, group: Group, member: Member) -> None:
        """Its launch is cancelled, and another one comes."""
        if member.instance_id in group.members and member.arriving:
            self.take_out(group, member, words.abandoned(self.clock.now(), member.instance_id))
