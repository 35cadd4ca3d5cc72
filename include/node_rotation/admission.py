"""Who may start now: one decision for the engine and for Airflow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from node_rotation.budget import IN_FLIGHT_STATES, Claim, in_flight, in_vain
from node_rotation.clearance import fitting, freeze
from node_rotation.managed.planning import taken
from node_rotation.model import Batch, GroupPlan, Plan, Role, group_of, is_balance
from node_rotation.policy import OnGateFailure, Policy
from node_rotation.workloads.conflicts import Conflict, Sharing

CONTROL_PLANE_SLOTS = 1
"""Control planes share one slot over all their groups: two masters at once may cost etcd its quorum."""


@dataclass(frozen=True, slots=True)
class Admit:
    """The batch may start (or has started already)."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet.

    :param reasons: each naming its object.
    :param others_may_go: it waits for certain machines in flight, not in the queue for slots.
    """

    reasons: tuple[str, ...]
    others_may_go: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not in this run.

    :param how: ``skip`` leaves the batch out, ``later`` leaves it to a run to come, ``fail`` fails it.
    :param remedy: what to do about it.
    """

    how: Literal["skip", "later", "fail"]
    reason: str
    remedy: str = "Clear the batch that failed from its admit step, then this one."


Decision = Admit | Wait | Refuse
Foreign = Mapping[str, Mapping[str, str]]
"""Node group name → instance id → why that machine counts (:func:`node_rotation.budget.foreign`)."""
Absent = Mapping[str, Mapping[str, str]]
"""The same of machines that are not there at all; one that has no id that is known is called by its number, ``6 of 6``.

They count in their own group's pool only: nothing of them is in flight, the cluster's slots are for what is."""


@dataclass(frozen=True, slots=True)
class _Desk:
    """Everything the decision looks at, so that the rules below stay short."""

    plan: Plan
    groups: Mapping[str, GroupPlan]
    claims: Mapping[str, Claim]
    policies: Mapping[str, Policy]
    foreign: Foreign
    absent: Absent
    busy: Mapping[str, str]
    now: float
    pools: Mapping[str, str]
    sharing: Sharing | None

    def is_control_plane(self, batch: Batch) -> bool:
        return self.pools[batch.group] == Role.CONTROL_PLANE.value

    def pool(self, batch: Batch) -> str:
        return self.pools[batch.group]

    def absent_in(self, batch: Batch) -> Absent:
        """Who is missing of the groups whose slots a batch needs."""
        return {g: machines for g, machines in self.absent.items() if self.pools[g] == self.pool(batch)}

    def pool_slots(self, batch: Batch) -> int:
        own = self.groups[batch.group].slots
        return min(own, CONTROL_PLANE_SLOTS) if self.is_control_plane(batch) else own

    def late(self, batch: Batch) -> bool:
        """The window has no room for it any more: it will never ask."""
        return any(fitting.waits(batch, self.groups[batch.group], self.policies[batch.group], self.now))

    def asks_not(self, batch: Batch) -> bool:
        """It has begun or ended, or takes no slots whatever is free."""
        return bool(self.state(batch.name)) or batch.name in self.busy or self.late(batch)

    def need(self, batch: Batch) -> int:
        """The slots it takes; a managed group's as many as EKS takes away at once."""
        return taken(self.groups[batch.group], len(batch.machines))

    def state(self, name: str) -> str:
        claim = self.claims.get(name)
        return claim.state if claim else ""


@dataclass(frozen=True, slots=True)
class _Flight:
    """Machines of a batch on their way, and how many of them are drained at once."""

    machines: tuple[str, ...]
    at_once: int


def decide(
    plan: Plan,
    batch: str,
    claims: Mapping[str, Claim],
    policies: Mapping[str, Policy],
    *,
    foreign: Foreign,
    absent: Absent | None = None,
    busy: Mapping[str, str] | None = None,
    lock_held: bool,
    now: float,
    frozen: str = "",
    sharing: Sharing | None = None,
) -> Decision:
    """Decide whether a batch may start.

    First in, first out within a group; another group's batch may go ahead only if the earlier one waits for its
    own group's slots. A batch that shares a tight PodDisruptionBudget with one in flight waits for that one, and
    keeps nobody; so does one that the maintenance window has no room for any more: it is left to a run to come.
    Safe with any number of askers if the claim is then written by compare-and-swap on the ledger that ``claims`` was
    read from. A batch that will never ask needs a claim (``healed``), else it keeps its place. A batch
    whose own claim ``failed`` or was ``healed`` asks anew: somebody cleared it.

    :param plan: the plan.
    :param batch: the asking batch's name.
    :param claims: the ledger: batch name → claim.
    :param policies: node group name → its policy.
    :param foreign: machines that are NotReady or disrupted by others, per node group.
    :param absent: machines that are missing, per node group; None: nobody is.
    :param busy: batch name → what somebody else has begun with its group: it waits for that, and keeps nobody.
    :param lock_held: this run holds the cluster's lock.
    :param now: epoch seconds.
    :param frozen: why the batch's image may not be rolled out any more.
    :param sharing: who stands under which PodDisruptionBudget; None: nobody shares one.
    :raises KeyError: if the plan has no such batch.
    """
    asking = _find(plan, batch)
    groups = {group.name: group for group in plan.groups}
    pools = {group.name: _pool(group) for group in plan.groups}
    desk = _Desk(plan, groups, claims, policies, _some(foreign), _some(absent or {}), busy or {}, now, pools, sharing)
    begun = lock_held and desk.state(batch) in ("admitted", "passed")
    if not begun and (late := fitting.too_late(plan, asking, claims, policies, now)):
        return Refuse("later", late, "Start a run in its next window, or leave it to the nightly check.")
    if not lock_held:
        return Refuse("fail", f"this run no longer holds the lock of cluster {plan.cluster}: nothing may start")
    if begun:
        return Admit()
    refused = _after_failure(desk, asking)
    if refused is not None:
        return refused
    if frozen:
        image = plan.group(asking.group).target.image.id
        return Refuse("fail", frozen, f"Publish a better image, or lift it: {freeze.lift(image)}")
    reasons = (*_in_order(desk, asking), *_pause(desk, asking))
    decision = Wait(reasons) if reasons else _room(desk, asking)
    busy_with = desk.busy.get(batch)
    return Wait((busy_with,)) if busy_with and isinstance(decision, Admit) else decision


def _some(found: Foreign) -> Foreign:
    return {group: machines for group, machines in found.items() if machines}


def _find(plan: Plan, name: str) -> Batch:
    for batch in plan.batches:
        if batch.name == name:
            return batch
    raise KeyError(name)


def _pool(group: GroupPlan) -> str:
    return Role.CONTROL_PLANE.value if group.role is Role.CONTROL_PLANE else f"group {group.name}"


def _after_failure(desk: _Desk, asking: Batch) -> Decision | None:
    """What an earlier failure means; an unknown batch's (an older plan's) holds.

    Not one that was to even out zones: the machines are as good as before, and no task could be cleared. Nor, for a
    batch that failed itself and was cleared, those behind it: several that were cleared would wait for each other.
    """
    groups = {b.name: b.group for b in desk.plan.batches}
    behind = _behind(desk, asking) if desk.state(asking.name) else frozenset()
    waits: list[str] = []
    for claim in desk.claims.values():
        if claim.batch in (asking.name, *behind) or claim.state not in ("failed", "healed") or is_balance(claim.batch):
            continue
        policy = desk.policies.get(groups.get(claim.batch, ""))
        rule = policy.gate.on_failure if policy else OnGateFailure.HOLD
        if rule is OnGateFailure.SKIP:
            return Refuse("skip", f"batch {claim.batch} failed and later batches are skipped (gate.on_failure: skip)")
        if rule is OnGateFailure.FAIL:
            return Refuse("fail", f"batch {claim.batch} failed and later batches fail (gate.on_failure: fail)")
        waits.append(f"batch {claim.batch} failed: held until it is cleared and passes")
    return Wait(tuple(waits)) if waits else None


def _behind(desk: _Desk, asking: Batch) -> frozenset[str]:
    names = [batch.name for batch in desk.plan.batches]
    return frozenset(names[names.index(asking.name) + 1 :])


def _in_order(desk: _Desk, asking: Batch) -> Iterator[str]:
    vain = in_vain(desk.claims.values())
    alone = desk.plan.canary(vain)
    for batch in desk.plan.ahead_of(asking, vain):
        if desk.state(batch.name) == "passed":
            continue
        if batch.canary:
            yield f"the canary {batch.name} has not passed its gate yet"
        elif batch is alone:
            yield f"{batch.name} goes in the canary's place and has not passed its gate yet"
        else:
            yield f"control plane first: {batch.name} has not passed its gate yet"


def _pause(desk: _Desk, asking: Batch) -> Iterator[str]:
    pause_s = desk.policies[asking.group].wait_between_rotations
    passed = [(claim.passed_at, claim.batch) for claim in desk.claims.values() if claim.passed_at is not None]
    if passed and pause_s:
        last, name = max(passed)
        left_s = last + pause_s - desk.now
        if left_s > 0:
            yield f"wait_between_rotations: {pause_s:.0f}s since {name} passed"


def _room(desk: _Desk, asking: Batch) -> Wait | Admit:
    """Walk the queue as it would be admitted; whoever fits takes its place before the asking batch.

    One that shares a tight budget with a batch in flight, or whose group somebody else is busy with, is passed by: it
    waits for that only. A batch of machines that are broken already does not stand behind one that waits because of
    broken machines.
    """
    broken = _is_broken(desk, asking)
    planned = frozenset(i for batch in desk.plan.batches for i in _ids(batch)) if desk.foreign else frozenset()
    cluster = _held(desk, desk.claims.values())
    pools: dict[str, int] = {}
    stuck: dict[str, str] = {}
    flying = _flying(desk)
    for batch in desk.plan.batches:
        if batch.name != asking.name and desk.asks_not(batch):
            continue
        pool, need = desk.pool(batch), desk.need(batch)
        if pool not in pools:
            pools[pool] = _claimed_in(desk, pool)
        in_pool, in_cluster = _others(desk, batch, planned)
        used, cluster_used = pools[pool] + in_pool, cluster + in_cluster
        fits_pool = used + need <= desk.pool_slots(batch)
        fits_cluster = cluster_used + need <= desk.plan.slots
        if batch.name == asking.name:
            ahead = "" if broken else stuck.get(pool, "")
            reasons = _why(desk, asking, used, cluster_used, ahead, fits_pool, fits_cluster)
            return Wait(reasons) if reasons else _apart(desk, asking, flying)
        if not fits_pool:
            stuck.setdefault(pool, batch.name)
        elif fits_cluster:
            if _conflict(desk, batch, flying) is None:
                pools[pool] += need
                cluster += need
                flying[batch.name] = _flight(desk, batch)
        elif not broken:
            return Wait((f"batch {batch.name} is first in line for the cluster's {desk.plan.slots} slots",))
    return Admit()


def _flying(desk: _Desk) -> dict[str, _Flight]:
    """Batch name → what is on its way."""
    opened = (claim for claim in desk.claims.values() if claim.state in IN_FLIGHT_STATES)
    return {claim.batch: _Flight(tuple(claim.machines), _holds(desk, claim)) for claim in opened}


def _flight(desk: _Desk, batch: Batch) -> _Flight:
    return _Flight(tuple(machine.instance_id for machine in batch.machines), desk.need(batch))


def _apart(desk: _Desk, asking: Batch, flying: Mapping[str, _Flight]) -> Wait | Admit:
    found = _conflict(desk, asking, flying)
    return Admit() if found is None else Wait((f"{found[1]} (batch {found[0]})",), others_may_go=True)


def _conflict(desk: _Desk, batch: Batch, flying: Mapping[str, _Flight]) -> tuple[str, Conflict] | None:
    """The first batch in flight, and why this one can't go beside it."""
    if desk.sharing is None:
        return None
    mine = _flight(desk, batch)
    for name, theirs in flying.items():
        if name == batch.name:
            continue
        at_once = {"mine_at_once": mine.at_once, "theirs_at_once": theirs.at_once}
        if found := desk.sharing.conflict(mine.machines, theirs.machines, **at_once):
            return name, found
    return None


def _why(
    desk: _Desk, asking: Batch, used: int, cluster_used: int, ahead: str, fits_pool: bool, fits_cluster: bool
) -> tuple[str, ...]:
    reasons = []
    if ahead:
        reasons.append(f"batch {ahead} is first in line for the slots of {desk.pool(asking)}")
    if not fits_pool:
        reasons.append(f"{desk.pool(asking)}: {used} of {desk.pool_slots(asking)} slots are taken")
    if not fits_cluster:
        reasons.append(f"cluster {desk.plan.cluster}: {cluster_used} of {desk.plan.slots} slots are taken")
    if reasons:
        reasons.extend(
            f"machine {machine} of {group} {why}: it counts against the budget"
            for group, machines in (*desk.foreign.items(), *desk.absent_in(asking).items())
            for machine, why in machines.items()
            if machine not in _ids(asking)
        )
    return tuple(reasons)


def _claimed_in(desk: _Desk, pool: str) -> int:
    """Slots that a pool's claims hold, also those that no plan knows: what evens out zones is under way as well."""
    return _held(desk, (claim for claim in desk.claims.values() if desk.pools.get(group_of(claim.batch)) == pool))


def _held(desk: _Desk, claims: Iterable[Claim]) -> int:
    """Slots that claims hold, each machine once; a managed group's as many as EKS takes away at once."""
    opened = [claim for claim in claims if claim.state in IN_FLIGHT_STATES]
    managed = {group.name for group in desk.plan.groups if group.managed is not None}
    theirs = [claim for claim in opened if managed and group_of(claim.batch) in managed]
    held = sum(_holds(desk, claim) for claim in theirs)
    return held + len(in_flight(claim for claim in opened if claim not in theirs))


def _holds(desk: _Desk, claim: Claim) -> int:
    """Slots that a claim in flight holds, also one that no plan knows."""
    group = desk.groups.get(group_of(claim.batch))
    return taken(group, len(claim.machines)) if group is not None else len(claim.machines)


def _others(desk: _Desk, batch: Batch, planned: frozenset[str]) -> tuple[int, int]:
    """Machines that others disrupt, or that are missing, and that count for a batch: in its pool, and in the cluster.

    Of other pools only those count that nobody here will replace: a broken machine of another group would otherwise
    keep this batch waiting for one that comes after it.
    """
    if not (desk.foreign or desk.absent) or _is_broken(desk, batch):
        return 0, 0
    mine = {group for group, pool in desk.pools.items() if pool == desk.pool(batch)}
    skip = _ids(batch) | in_flight(desk.claims.values())
    found = [
        (group in mine, machine)
        for group, machines in desk.foreign.items()
        for machine in machines
        if machine not in skip
    ]
    missing = sum(machine not in skip for machines in desk.absent_in(batch).values() for machine in machines)
    return sum(here for here, _ in found) + missing, sum(here or machine not in planned for here, machine in found)


def _is_broken(desk: _Desk, asking: Batch) -> bool:
    """Replacing machines that are no use already takes nothing away: only our own claims count for them.

    Without this, as many broken machines as slots would keep their own replacement from ever starting.
    """
    broken = {*desk.foreign.get(asking.group, ()), *desk.absent.get(asking.group, ())}
    return bool(broken) and _ids(asking) <= broken


def _ids(batch: Batch) -> frozenset[str]:
    return frozenset(machine.instance_id for machine in batch.machines)
