"""Termination protection: a machine that somebody protects is left alone, before anything of it is touched.

Auto Scaling would terminate it all the same (EC2 user guide, "Change instance termination protection").
"""

from __future__ import annotations

from collections.abc import Sequence

from node_rotation import lock
from node_rotation.errors import BlockedError
from node_rotation.ledger import claim_change
from node_rotation.outcome import CLEAR_BATCH, Blocked
from node_rotation.run import Run
from node_rotation.steps.scene import Scene, gone
from node_rotation.world.aws import Instance
from node_rotation.world.clients import PROTECTION_READ_UP_TO


def ask_once(place: Scene) -> None:
    """Ask about a batch's old machines before they are touched; the claim says that it was done, which takes calls.

    :raises BlockedError: if one is protected.
    """
    if place.claim.asked:
        return
    left = [m for m in place.claim.machines if not (gone(place.snapshot.instances.get(m)) or place.taken_out(m))]
    refuse_protected(place.run, left)
    lock.change(place.run, claim_change(place.claim.batch, asked=True))


def refuse_protected(run: Run, machines: Sequence[str]) -> None:
    """Ask AWS about these machines, so few at a time that it tells.

    :raises BlockedError: if one is protected.
    """
    for first in range(0, len(machines), PROTECTION_READ_UP_TO):
        found = run.cloud.instances(machines[first : first + PROTECTION_READ_UP_TO])
        if blocked := next((b for instance in found.values() if (b := protected(instance)) is not None), None):
            raise BlockedError(blocked)


def protected(instance: Instance | None) -> Blocked | None:
    """Why a machine must not be terminated, if EC2 said so when asked for a few."""
    if instance is None or not instance.termination_protected:
        return None
    return Blocked(
        f"instance {instance.id} is protected from termination",
        (f"instance {instance.id}",),
        f"Turn its termination protection off (DisableApiTermination), then {CLEAR_BATCH}",
    )
