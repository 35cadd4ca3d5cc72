"""Even out a group over its zones before its AZRebalance runs again.

AZRebalance terminates a machine of the rich zone without draining it once two zones differ by more than one
(Auto Scaling user guide, "Availability Zone distribution"). Surge lets the group choose a zone before it knows who
leaves, so a run can end like that. Then one machine after another of the richest zone is replaced by the ordinary
steps, under claims ``<group>/balance-<n>``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from node_rotation import lock, steps  # steps as a module: they prepare, which sweeps, which restores
from node_rotation.errors import BlockedError, GoneError, PermanentError
from node_rotation.ledger import Baseline, Claim, ClaimState, Ledger
from node_rotation.model import Batch, GroupPlan, ImageStep, PlannedMachine, StepName, Strategy, Target
from node_rotation.outcome import Blocked, Waiting
from node_rotation.run import Run
from node_rotation.steps.heal import heal_claim
from node_rotation.steps.scene import fresh_group, stays
from node_rotation.steps.step import Step
from node_rotation.world.aws import ScalingGroup
from node_rotation.world.snapshot import Snapshot

PROCESS = "AZRebalance"
TOLERATED = 1  # AZRebalance acts on a difference of two


def spread(group: ScalingGroup) -> Mapping[str, int]:
    """How many members that stay each zone of a group has."""
    found = Counter({zone: 0 for zone in group.zones})
    found.update(m.zone for m in group.members if stays(m.lifecycle))
    return found


def unevenness(group: ScalingGroup) -> int:
    """The difference between a group's richest and poorest zone, machines."""
    counts = spread(group).values()
    return max(counts) - min(counts) if counts else 0


def ahead(snapshot: Snapshot, ledger: Ledger, group_name: str) -> int:
    """How many machines evening out will have to replace as the group stands, for the time it may take.

    :param group_name: a group of the ledger.
    """
    baseline = ledger.groups[group_name]
    group = snapshot.groups.get(baseline.asg)
    if group is None or baseline.strategy is Strategy.TERMINATE_FIRST or PROCESS not in baseline.suspended_by_us:
        return 0
    counts, moves = sorted(spread(group).values()), 0
    while counts and counts[-1] - counts[0] > max(TOLERATED, baseline.uneven):
        counts = sorted((counts[0] + 1, *counts[1:-1], counts[-1] - 1))
        moves += 1
    return moves


def is_balance(claim: Claim) -> bool:
    """True for a claim of this module, which no plan knows."""
    return claim.batch.startswith(f"{claim.group}/balance-")


def even_out(run: Run, group_name: str, did: list[str]) -> bool:
    """Go on evening a group out; True once it is even, or can't be.

    :param did: gets one line per thing done, or why it was given up.
    :raises BlockedError: if the lock is another's.
    """
    ledger = lock.require(run).ledger
    current = next((c for c in ledger.claims_of(group_name) if is_balance(c) and c.open), None)
    if current is None:
        current = _begin(run, group_name, ledger, did)
    if current is None:
        return True
    blocked = _drive(run, ledger.groups[group_name], current, did)
    if isinstance(blocked, Waiting):
        return False
    if blocked is not None:
        give_up(run, current, str(blocked), did)
    return False  # looked at again: it may take more than one, and a failed one goes back first


def give_up(run: Run, claim: Claim, why: str, did: list[str]) -> None:
    """Leave a group uneven, and say so; the claim is healed like that of any failed batch."""
    group = fresh_group(run, lock.require(run).ledger.groups[claim.group].asg)
    did.append(_note(group, why))
    did.extend(heal_claim(run, claim, why))


def _begin(run: Run, group_name: str, ledger: Ledger, did: list[str]) -> Claim | None:
    """Claim a machine of the richest zone, if one has to go and nothing speaks against it."""
    baseline = ledger.groups[group_name]
    group = fresh_group(run, baseline.asg)
    uneven = unevenness(group)
    if baseline.strategy is Strategy.TERMINATE_FIRST:
        return None  # the group itself chose each replacement's zone, knowing who had left
    if uneven <= TOLERATED or PROCESS not in baseline.suspended_by_us or PROCESS not in group.suspended:
        return None
    run.look.forget()
    snapshot = run.look()
    if against := _against(run, snapshot, ledger, group_name, uneven):
        if not any(c.state is ClaimState.HEALED for c in ledger.claims_of(group_name) if is_balance(c)):
            did.append(_note(group, against))
        return None
    machine = _leaver(baseline, group, snapshot)
    number = 1 + sum(is_balance(c) for c in ledger.claims_of(group_name))
    claim = Claim(
        batch=f"{group_name}/balance-{number}",
        group=group_name,
        machines=(machine,),
        strategy=baseline.strategy,
        since=run.clock.now(),
    )
    written = lock.change(run, lambda now: now if now.claim(claim.batch) else now.with_claim(claim))
    did.append(f"group {group.name}: {_said(group)} are uneven, so instance {machine} is replaced")
    return written.claim(claim.batch)


def _against(run: Run, snapshot: Snapshot, ledger: Ledger, group_name: str, uneven: int) -> str:
    claims = ledger.claims_of(group_name)
    if uneven <= ledger.groups[group_name].uneven:
        return "they were before the run"
    if group_name not in run.settings.groups:
        return "the fleet file no longer has the group"
    if any(c.image_fault for c in claims):
        return "the image is at fault"
    earlier = [c for c in claims if is_balance(c)]
    if failed := next((c for c in earlier if c.state is not ClaimState.PASSED), None):
        return failed.why
    if earlier and _in_vain(snapshot, earlier[-1]):
        return "a replacement came in the same zone again"
    return ""


def _in_vain(snapshot: Snapshot, claim: Claim) -> bool:
    """The replacement did not come in another zone, e.g. because the poor one has no capacity."""
    zones = [
        (snapshot.instances[old].zone, snapshot.instances[new].zone)
        for old, new in claim.replacements.items()
        if old in snapshot.instances and new in snapshot.instances
    ]
    return any(old == new for old, new in zones)


def _leaver(baseline: Baseline, group: ScalingGroup, snapshot: Snapshot) -> str:
    """A machine of the richest zone: one from before the run if there is any, the oldest of those."""
    counts = spread(group)
    richest = min(counts, key=lambda zone: (-counts[zone], zone))

    def age(machine: str) -> tuple[bool, float, str]:
        instance = snapshot.instances.get(machine)
        return machine not in baseline.members, instance.launched_at if instance else 0.0, machine

    return min((m.instance_id for m in group.members if m.zone == richest and stays(m.lifecycle)), key=age)


def _drive(run: Run, baseline: Baseline, claim: Claim, did: list[str]) -> Blocked | Waiting | None:
    """Act and look, step by step; None once the machine is replaced."""
    if claim.state is ClaimState.FAILED:
        did.extend(heal_claim(run, claim))
        return Waiting(())
    try:
        own = _own_run(run, baseline, claim)
        batch = _batch(claim)
        for step in _left(claim):
            step.act(own, batch)
            outcome = step.look(own, batch)
            if isinstance(outcome, Blocked | Waiting):
                return outcome
    except BlockedError as error:
        lock.require(run)  # a lost lock ends all of it
        return error.blocked
    except PermanentError as error:
        return Blocked(str(error), (f"batch {claim.batch}",))
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


def _batch(claim: Claim) -> Batch:
    machines = tuple(PlannedMachine(instance_id=m, reasons=()) for m in claim.machines)
    return Batch(name=claim.batch, group=claim.group, machines=machines)


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
    return replace(run, plan=run.plan.model_copy(update={"groups": (plan,), "batches": (_batch(claim),)}))


def _note(group: ScalingGroup, why: str) -> str:
    return f"group {group.name}: {_said(group)} stay uneven ({why}); {PROCESS} may terminate a machine undrained"


def _said(group: ScalingGroup) -> str:
    return f"zones {', '.join(f'{zone} {count}' for zone, count in sorted(spread(group).items()))}"
