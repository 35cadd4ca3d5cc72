"""After an image was at fault: freeze it everywhere, and say where it still launches."""

from __future__ import annotations

from contextlib import suppress

from node_rotation import lock
from node_rotation.errors import BlockedError, PermanentError, RotationError
from node_rotation.ledger import Claim
from node_rotation.model import GroupPlan
from node_rotation.run import Run
from node_rotation.steps.image_step import at_fault
from node_rotation.steps.scene import fresh_group


def freeze_at_fault(run: Run, claim: Claim) -> tuple[str, ...]:
    """Freeze the image that a batch failed on, if the cause lies in it and no machine of the group has passed on it.

    A sweep has no plan and freezes nothing: the next run's canary will. A freeze that is refused does not keep the
    batch from being healed; it is said instead.

    :returns: one line per thing done, or to be done by somebody.
    """
    group = next((g for g in run.plan.groups if g.name == claim.group), None)
    if group is None or not at_fault(lock.require(run).ledger.claims_of(claim.group)):
        return ()
    image = group.target.image
    said = []
    try:
        if run.freezes.of(image) is None:
            said.append(str(run.freezes.freeze(image, claim.why or f"batch {claim.batch} failed on it", run.id)))
    except (BlockedError, PermanentError) as error:
        said.append(f"image {image.id} could not be frozen: {error} Do it by hand: node-rotation freeze {image.id}")
    said.extend(still_launches(run, group))
    return tuple(said)


def still_launches(run: Run, group: GroupPlan) -> tuple[str, ...]:
    """One line if a group's template launches its target, which is frozen; nothing if not."""
    image = group.target.image.id
    if run.cloud.template(fresh_group(run, group.asg).template).image_id != image:
        return ()
    return (f"a frozen image still launches: {image} from the template of group {group.asg}, not ours to change",)


def frozen_targets(run: Run) -> tuple[str, ...]:
    """Which of the plan's images are frozen by now, why, and what launches them; nothing of what can't be learned."""
    records: list[str] = []
    launched: list[str] = []
    for group in run.plan.groups:
        with suppress(RotationError):
            if record := run.freezes.of(group.target.image):
                records.append(str(record))
                launched.extend(still_launches(run, group))
    return tuple(dict.fromkeys((*records, *launched)))
