"""One cluster of an environment at a time: whose turn it is, by what the others show now. Reads only."""

from __future__ import annotations

from collections.abc import Iterator

from node_rotation import intake, lock, names
from node_rotation.clearance import promotion
from node_rotation.clearance.stages import stages, unreachable
from node_rotation.errors import RotationError
from node_rotation.fleet import Before, Settings
from node_rotation.ledger import parse
from node_rotation.policy import Empty, PromotionPolicy
from node_rotation.run import Run

AT_ONCE = PromotionPolicy(soak=0.0, empty=Empty.ALLOW)
"""A cluster of the same environment has to be done, not to have proven anything for a day."""


def waits(run: Run) -> Iterator[str]:
    """Why it is not this cluster's turn yet; nothing if it is, or if its environment's clusters go together.

    Those ahead have to run the image on every machine. None may be rotated at the time: its intake is closed then.

    :raises UnreachableError: if another cluster can't be asked.
    """
    turn = run.settings.turn
    if turn is None:
        return
    for before in turn.ahead:
        if reasons := (*_busy(run, before.settings), *_not_done(run, before)):
            yield from reasons  # those after it wait for it as well: no need to look at them
            return
    for other in turn.behind:
        yield from _busy(run, other)


def _not_done(run: Run, before: Before) -> Iterator[str]:
    found = stages(run, (before,), run.plan.groups)
    for group in run.plan.groups:
        yield from promotion.waits(group.target.image, found[group.name], AT_ONCE, run.clock.now())


def _busy(run: Run, settings: Settings) -> Iterator[str]:
    """Whoever holds its lock; a dead run's intake is closed until somebody sweeps it."""
    try:
        lease = run.others.reach(settings)[1].lease()
        if lease is None or not lease.holder:
            return
        closed = intake.shut(parse(lease.annotations.get(names.LEDGER, "")))
    except RotationError as error:
        raise unreachable(settings, error) from error
    dead = "" if not lock.expired(lease, run.clock.now()) else ", which is dead: node-rotation sweep puts back its work"
    yield f"{settings.name} is being rotated by {lease.holder}{dead}{f'; {closed}' if closed else ''}"
