"""Even out a group over its zones before its AZRebalance runs again.

AZRebalance terminates a machine of the rich zone without draining it once two zones differ by more than one
(Auto Scaling user guide, "Availability Zone distribution"). Surge lets the group choose a zone before it knows who
leaves, so a run can end like that. Then machines of the richest zone are replaced by the ordinary steps, under claims
``<group>/balance-<n>``: beside the last batches where there are slots (:mod:`node_rotation.steps.evening`), and what
is left then one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial

from node_rotation import lock, steps  # steps as a module: they prepare, which sweeps, which restores
from node_rotation.errors import BlockedError, GoneError, PermanentError
from node_rotation.ledger import Baseline, Claim, ClaimState, Ledger
from node_rotation.model import (
    Batch,
    GroupPlan,
    ImageStep,
    PlannedMachine,
    StepName,
    Strategy,
    Target,
    balance_batch,
    is_balance,
)
from node_rotation.outcome import REFUSED_CALL, Blocked, Waiting
from node_rotation.run import Run
from node_rotation.scaling.zones import TOLERATED, moves, spread, too_rich, unevenness
from node_rotation.steps.heal import heal_claim
from node_rotation.steps.scene import fresh_group, stays
from node_rotation.steps.step import Step
from node_rotation.world.aws import ScalingGroup
from node_rotation.world.snapshot import Snapshot

PROCESS = "AZRebalance"


def ahead(snapshot: Snapshot, ledger: Ledger, group_name: str) -> int:
    """How many machines evening out will have to replace as the group stands, for the time it may take.

    :param group_name: a group of the ledger.
    """
    baseline = ledger.groups[group_name]
    group = snapshot.groups.get(baseline.asg)
    if group is None or baseline.strategy is Strategy.TERMINATE_FIRST or PROCESS not in baseline.suspended_by_us:
        return 0
    return moves(spread(group).values(), tolerated(baseline))


def tolerated(baseline: Baseline) -> int:
    """The difference between its zones that a group may keep: what AZRebalance bears, or what was there before."""
    return max(TOLERATED, baseline.uneven)


def even_out(run: Run, group_name: str, did: list[str]) -> bool:
    """Go on evening a group out; True once it is even, or can't be.

    :param did: gets one line per thing done, or why it was given up.
    :raises BlockedError: if the lock is another's.
    """
    ledger = lock.require(run).ledger
    begun = [c for c in ledger.claims_of(group_name) if is_balance(c.batch) and c.open]
    if not begun and (claim := _begin(run, group_name, ledger, did)) is not None:
        begun = [claim]
    for claim in begun:
        go_on(run, claim, partial(_own_run, run, ledger.groups[group_name], claim), did)
    return not begun  # looked at again: it may take more than one, and a failed one goes back first


def go_on(run: Run, claim: Claim, own: Callable[[], Run], did: list[str]) -> None:
    """Take a claim as far as it goes now; one that can't be carried out is given up.

    :param own: makes a run whose plan knows the claim's batch.
    :param did: as for :func:`even_out`.
    """
    blocked = _drive(run, claim, own, did)
    if isinstance(blocked, Blocked):
        give_up(run, claim, str(blocked), did)


def give_up(run: Run, claim: Claim, why: str, did: list[str]) -> None:
    """Leave a group uneven, and say so; the claim is healed like that of any failed batch."""
    group = fresh_group(run, lock.require(run).ledger.groups[claim.group].asg)
    did.append(_note(group, why))
    did.extend(heal_claim(run, claim, why))


def _begin(run: Run, group_name: str, ledger: Ledger, did: list[str]) -> Claim | None:
    """Claim a machine of the richest zone, if one has to go and nothing speaks against it."""
    baseline = ledger.groups[group_name]
    group = fresh_group(run, baseline.asg)
    if baseline.strategy is Strategy.TERMINATE_FIRST:
        return None  # the group itself chose each replacement's zone, knowing who had left
    if unevenness(group) <= TOLERATED or not held_back(baseline, group):
        return None
    run.look.forget()
    snapshot = run.look()
    rich = too_rich(group, tolerated=tolerated(baseline))
    if why := against(run, snapshot, ledger, group_name, rich):
        if not any(c.state is ClaimState.HEALED for c in _earlier(ledger, group_name)):
            did.append(_note(group, why))
        return None
    machines = leavers(ledger, group_name, group, snapshot, rich)
    batch = next_batch(ledger, group_name, machines)
    claim = Claim(
        batch=batch.name, group=group_name, machines=machines, strategy=baseline.strategy, since=run.clock.now()
    )
    written = lock.change(run, lambda now: now if now.claim(batch.name) else now.with_claim(claim))
    did.append(begins(group, machines))
    return written.claim(batch.name)


def begins(group: ScalingGroup, machines: Collection[str], leaving: Collection[str] = ()) -> str:
    """That machines are replaced for their zones' sake.

    :param leaving: members that are not to be counted: they go anyway.
    """
    what = " and ".join(f"instance {machine}" for machine in machines)
    return f"group {group.name}: {_said(group, leaving)} are uneven, so {what} {_is(machines)} replaced"


def _is(things: Collection[str]) -> str:
    return "is" if len(things) == 1 else "are"


def held_back(baseline: Baseline, group: ScalingGroup) -> bool:
    """Whether AZRebalance waits for this run to end."""
    return PROCESS in baseline.suspended_by_us and PROCESS in group.suspended


def next_batch(ledger: Ledger, group_name: str, machines: tuple[str, ...]) -> Batch:
    """The batch that replaces machines for their zones' sake."""
    return batch_of(balance_batch(group_name, 1 + len(_earlier(ledger, group_name))), group_name, machines)


def batch_of(name: str, group_name: str, machines: tuple[str, ...]) -> Batch:
    """A batch that no plan knows."""
    return Batch(
        name=name, group=group_name, machines=tuple(PlannedMachine(instance_id=m, reasons=()) for m in machines)
    )


def _earlier(ledger: Ledger, group_name: str) -> list[Claim]:
    return [claim for claim in ledger.claims_of(group_name) if is_balance(claim.batch)]


def against(run: Run, snapshot: Snapshot, ledger: Ledger, group_name: str, rich: Collection[str]) -> str:
    """What speaks against replacing more machines of a group; "" if nothing does.

    :param rich: the zones they would be taken of.
    """
    if not rich:
        return "they were before the run"
    if group_name not in run.settings.groups:
        return "the fleet file no longer has the group"
    if any(c.image_fault for c in ledger.claims_of(group_name)):
        return "the image is at fault"
    earlier = [c for c in _earlier(ledger, group_name) if c.state is not ClaimState.ADMITTED]
    if failed := next((c for c in earlier if c.state is not ClaimState.PASSED), None):
        return failed.why
    if earlier and _in_vain(snapshot, earlier[-1], rich):
        return "a replacement came in the zone that has too many"
    return ""


def _in_vain(snapshot: Snapshot, claim: Claim, rich: Collection[str]) -> bool:
    """A replacement did not come where it was wanted, e.g. because the poor zone has no capacity."""
    found = (snapshot.instances.get(new) for new in claim.replacements.values())
    return any(instance is not None and instance.zone in rich for instance in found)


def leavers(
    ledger: Ledger, group_name: str, group: ScalingGroup, snapshot: Snapshot, rich: Sequence[str]
) -> tuple[str, ...]:
    """A machine of each zone that no batch has to do with: from before the run if there is any, the oldest of those.

    :param rich: the zones.
    :returns: fewer than zones if the others belong to batches in flight.
    """
    flying = [c for c in ledger.claims_of(group_name) if c.open]
    busy = {m for c in flying for m in (*c.machines, *c.replacements.values())}

    def age(machine: str) -> tuple[bool, float, str]:
        instance = snapshot.instances.get(machine)
        new = machine not in ledger.groups[group_name].members
        return new, instance.launched_at if instance else 0.0, machine

    free = [m for m in group.members if stays(m.lifecycle) and m.instance_id not in busy]
    found = [
        sorted((m.instance_id for m in free if m.zone == zone), key=age)[: list(rich).count(zone)]
        for zone in dict.fromkeys(rich)
    ]
    return tuple(machine for machines in found for machine in machines)


def _drive(run: Run, claim: Claim, own: Callable[[], Run], did: list[str]) -> Blocked | Waiting | None:
    """Act and look, step by step; None once the machine is replaced."""
    if claim.state is ClaimState.FAILED:
        did.extend(heal_claim(run, claim))
        return Waiting(())
    try:
        known, batch = own(), batch_of(claim.batch, claim.group, claim.machines)
        for step in _left(claim):
            step.act(known, batch)
            outcome = step.look(known, batch)
            if isinstance(outcome, Blocked | Waiting):
                return outcome
    except BlockedError as error:
        lock.require(run)  # a lost lock ends all of it
        return error.blocked
    except PermanentError as error:
        return Blocked(str(error), (f"batch {claim.batch}",), REFUSED_CALL)
    did.append(f"batch {claim.batch} passed")
    return None


def _left(claim: Claim) -> tuple[Step, ...]:
    """The steps that a claim has not behind it."""
    if claim.terminate_since is not None:
        first = StepName.TERMINATE
    elif claim.drain_since is not None:
        first = StepName.DRAIN
    else:
        first = StepName.LAUNCH
    return tuple(steps.STEPS[name] for name in steps.ORDER[steps.ORDER.index(first) :])


def _own_run(run: Run, baseline: Baseline, claim: Claim) -> Run:
    """The run with a plan of this one group: what its template launches now is the target.

    :raises GoneError: if the template, or its image, is gone.
    """
    group = fresh_group(run, baseline.asg)
    launches = run.cloud.template(group.template)
    image = run.cloud.image(launches.image_id)
    if image is None:
        raise GoneError(f"image {launches.image_id}, which group {group.name} launches, does not exist (any more)")
    plan = GroupPlan(
        name=claim.group,
        asg=baseline.asg,
        strategy=claim.strategy,
        image_step=ImageStep.EXTERNAL,
        needs_image_step=False,
        target=Target(image=image, template=launches.ref, source="template"),
        slots=1,
        size=baseline.desired,
    )
    batch = batch_of(claim.batch, claim.group, claim.machines)
    return replace(run, plan=run.plan.model_copy(update={"groups": (plan,), "batches": (batch,)}))


def _note(group: ScalingGroup, why: str) -> str:
    return f"group {group.name}: {_said(group)} stay uneven ({why}); {PROCESS} may terminate a machine undrained"


def _said(group: ScalingGroup, leaving: Collection[str] = ()) -> str:
    return f"zones {', '.join(f'{zone} {count}' for zone, count in sorted(spread(group, leaving).items()))}"
