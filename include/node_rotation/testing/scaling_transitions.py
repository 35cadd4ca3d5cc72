"""How a member comes into service and how it leaves: target groups and lifecycle hooks, in AWS' order.

Coming: launching hooks (Pending:Wait), registered in the target groups, InService. Leaving: deregistered, its
deregistration delay waited for, terminating hooks (Terminating:Wait), then EC2.

Sources: https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html and
https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CompleteLifecycleAction.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from node_rotation.testing.scaling_activity import Status
from node_rotation.testing.scaling_values import AwsFault, HookWait, Lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from node_rotation.testing.scaling_values import Clock, Group, Member
    from node_rotation.testing.targets import Targets

LAUNCHING, TERMINATING = "autoscaling:EC2_INSTANCE_LAUNCHING", "autoscaling:EC2_INSTANCE_TERMINATING"
CONTINUE, ABANDON = "CONTINUE", "ABANDON"
_LONGEST_S = 172800
OWNER_AFTER = "x-completes-after"
"""Not AWS': a hook whose owner, played by the world, says CONTINUE so many seconds later."""


def hook(asked: Mapping[str, Any]) -> dict[str, Any]:
    """A lifecycle hook as PutLifecycleHook is told it, with AWS' defaults and its global timeout."""
    told = {"HeartbeatTimeout": 3600, "DefaultResult": ABANDON, **asked}
    return {**told, "GlobalTimeout": min(_LONGEST_S, 100 * told["HeartbeatTimeout"])}


class Transitions:
    """The halts of members on their way in and out.

    :param targets: None: no target groups in this world.
    :param new_token: makes lifecycle action tokens.
    """

    def __init__(self, clock: Clock, targets: Targets | None, new_token: Callable[[], str]) -> None:
        self._clock, self._targets, self._new_token = clock, targets, new_token
        self.retains: set[str] = set()
        """Groups whose instance lifecycle policy retains a machine that a terminating hook abandons."""

    def arrive(self, group: Group, member: Member, serve: Callable[[], None], abandon: Callable[[], None]) -> None:
        """A launched machine runs: through the launching hooks into the target groups.

        :param serve: it is in service now.
        :param abandon: a hook gave it up.
        """

        def over(result: str) -> None:
            if result == ABANDON:
                abandon()
                return
            member.lifecycle = Lifecycle.PENDING_PROCEED
            self.register(group, member)
            serve()

        if not self._halt(group, member, LAUNCHING, over):
            self.register(group, member)
            serve()

    def leave(self, group: Group, member: Member, terminate: Callable[[], None]) -> None:
        """A member is taken out: out of the target groups, through the terminating hooks, then ``terminate``."""
        member.waits.clear()
        member.on_complete = None
        self.deregister(group, member)

        def drained() -> None:
            if not self._halt(group, member, TERMINATING, over):
                terminate()

        def over(result: str) -> None:
            if result == ABANDON and group.name in self.retains:
                member.lifecycle = Lifecycle.TERMINATING_RETAINED
                return
            member.lifecycle = Lifecycle.TERMINATING_PROCEED
            terminate()

        self._once_left(group, member, drained)

    def register(self, group: Group, member: Member) -> None:
        """Into every target group of its group; a suspended AddToLoadBalancer keeps it out, also later."""
        if self._targets is not None and group.runs("AddToLoadBalancer"):
            for arn in group.target_groups:
                self._targets.register(arn, [member.instance_id])

    def deregister(self, group: Group, member: Member) -> None:
        """Out of every target group; they drain."""
        if self._targets is not None:
            for arn in group.target_groups:
                self._targets.withdraw(arn, member.instance_id)

    def unserved(self, group: Group, member: Member) -> bool:
        """Whether load-balancer health checks fail: one target group says so, or does not know it (any more)."""
        if self._targets is None or "ELB" not in str(group.attributes.get("HealthCheckType", "")).split(","):
            return False
        grace_s = float(group.attributes.get("HealthCheckGracePeriod") or 0)
        if member.in_service_at is None or self._clock.now() - member.in_service_at < grace_s:
            return False
        shown = [self._targets.health(arn).get(member.instance_id, ("unused", "")) for arn in group.target_groups]
        return any(state in ("unhealthy", "unused", "draining") for state, _ in shown)

    def complete(self, group: Group, hook: str, result: str, *, instance: str = "", token: str = "") -> None:
        """CompleteLifecycleAction, by whoever owns the hook.

        :raises AwsFault: if no member waits there.
        """
        member, wait = _waiting(group, hook, instance, token)
        self._complete(member, wait, result)

    def heartbeat(self, group: Group, hook: str, *, instance: str = "", token: str = "") -> None:
        """RecordLifecycleActionHeartbeat: the hook's timeout begins anew, but not beyond its global timeout."""
        member, wait = _waiting(group, hook, instance, token)
        wait.beats += 1
        self._watch(member, wait)

    def hook_deleted(self, group: Group, hook: str) -> None:
        """DeleteLifecycleHook: "outstanding lifecycle actions are completed first", launching ones abandoned."""
        group.hooks.pop(hook, None)
        for member in list(group.members.values()):
            if wait := member.waits.get(hook):
                self._complete(member, wait, ABANDON if wait.transition == LAUNCHING else CONTINUE)

    def _halt(self, group: Group, member: Member, transition: str, over: Callable[[str], None]) -> bool:
        """Wait for every hook of a transition; False if there is none."""
        hooks = {n: h for n, h in group.hooks.items() if h.get("LifecycleTransition") == transition}
        if not hooks:
            return False
        launching = transition == LAUNCHING
        member.lifecycle = Lifecycle.PENDING_WAIT if launching else Lifecycle.TERMINATING_WAIT
        member.on_complete = over
        if member.activity and member.activity.ended_at is None:
            member.activity.status = Status.MID_LIFECYCLE
        now = self._clock.now()
        member.waits = {name: HookWait(name, transition, hook, self._new_token(), now) for name, hook in hooks.items()}
        for wait in tuple(member.waits.values()):
            self._watch(member, wait)
            self._play_owner(member, wait)
        return True

    def _watch(self, member: Member, wait: HookWait) -> None:
        """Without another heartbeat AWS ends the wait with the hook's default result."""
        beats, heartbeat_s = wait.beats, float(wait.hook["HeartbeatTimeout"])
        end = min(self._clock.now() + heartbeat_s, wait.since + float(wait.hook["GlobalTimeout"]))

        def due() -> None:
            if member.waits.get(wait.name) is wait and wait.beats == beats:
                self._complete(member, wait, wait.hook["DefaultResult"])

        self._clock.after(end - self._clock.now(), due)

    def _play_owner(self, member: Member, wait: HookWait) -> None:
        after_s = wait.hook.get(OWNER_AFTER)
        if after_s is None:
            return

        def answers() -> None:
            if member.waits.get(wait.name) is wait:
                self._complete(member, wait, CONTINUE)

        self._clock.after(float(after_s), answers)

    @staticmethod
    def _complete(member: Member, wait: HookWait, result: str) -> None:
        """ABANDON ends the other hooks too, CONTINUE lets them go on (CompleteLifecycleAction)."""
        member.waits.pop(wait.name, None)
        if result == ABANDON:
            member.waits.clear()
        if not member.waits and member.on_complete is not None:
            over, member.on_complete = member.on_complete, None
            over(result)

    def _once_left(self, group: Group, member: Member, then: Callable[[], None]) -> None:
        """Call back once the machine drains nowhere any more."""
        targets, arns = self._targets, group.target_groups
        if targets is None or targets.left(arns, member.instance_id):
            then()
            return
        if member.activity and member.activity.ended_at is None:
            member.activity.status = Status.DRAINING

        def changed(arn: str, instance: str) -> None:
            if instance == member.instance_id and targets.left(arns, instance):
                targets.on_change.remove(changed)
                then()

        targets.on_change.append(changed)


def _waiting(group: Group, hook: str, instance: str, token: str) -> tuple[Member, HookWait]:
    for member in group.members.values():
        wait = member.waits.get(hook)
        if wait is not None and (member.instance_id == instance or wait.token == token):
            return member, wait
    said = f"No active Lifecycle Action found with {f'token {token}' if token else f'instance ID {instance}'}"
    raise AwsFault("ValidationError", said)
