"""Whether a batch that passed has shown anything of its image, or passed in vain: one rule for all who write it."""

from __future__ import annotations

from node_rotation.ledger import Claim
from node_rotation.model import Batch
from node_rotation.run import Run
from node_rotation.steps.scene import gone, staying
from node_rotation.world.snapshot import Snapshot


def arrived(claim: Claim, snapshot: Snapshot) -> frozenset[str]:
    """A claim's new machines, without what somebody took away since, spot say.

    That is no fault of the image, nor does it speak for it.
    """
    return frozenset(m for m in claim.replacements.values() if not gone(snapshot.instances.get(m)))


def in_vain(run: Run, batch: Batch, claim: Claim | None, snapshot: Snapshot) -> bool:
    """True if no new machine came for a batch, and none of its group is Ready on the target either.

    :param claim: None if it is lost: which machines replaced the batch nobody knows then.
    """
    return not (claim is not None and arrived(claim, snapshot)) and not _works(run, batch, snapshot)


def _works(run: Run, batch: Batch, snapshot: Snapshot) -> bool:
    """Whether a machine of a batch's group is Ready on the target; not one that is to go itself, for its age say."""
    plan = run.group(batch)
    group = snapshot.groups.get(plan.asg)
    old = {machine.instance_id for other in run.plan.batches for machine in other.machines}
    nodes = [snapshot.node_of(machine) for machine in (staying(group) - old if group else ())]
    ready = [snapshot.instances.get(node.instance_id) for node in nodes if node is not None and node.ready]
    return any(instance is not None and instance.image_id == plan.target.image.id for instance in ready)
