"""Whether an image has proven itself in the environments before, by what their clusters show now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from node_rotation.clearance import freeze
from node_rotation.clearance.freeze import Frozen
from node_rotation.clearance.lineage import same
from node_rotation.model import Image
from node_rotation.policy import Empty, PromotionPolicy

BACK = "a newer image runs there: a run with skip_promotion=REASON does not wait for it to go back"
"""What is said to a run that keeps an older image: it may mean to go back with its own cluster alone."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of a group that comes before.

    :param image: None if it is gone or private.
    :param launched_at: epoch seconds.
    :param ready: its Node is Ready.
    """

    id: str
    image: Image | None
    launched_at: float
    ready: bool


@dataclass(frozen=True, slots=True)
class Stage:
    """A required group of an environment before, as it is now.

    :param cluster: ``environment.cluster``.
    :param overtakes: its images come from where ours do, so that a newer one of them will be ours as well.
    """

    cluster: str
    group: str
    machines: tuple[Machine, ...]
    overtakes: bool = True

    @property
    def name(self) -> str:
        """As messages call it: ``staging.eu-1 group workers``."""
        return f"{self.cluster} group {self.group}"


def waits(image: Image, stages: Sequence[Stage], policy: PromotionPolicy, now: float) -> Iterator[str]:
    """What an image still has to show before it is promoted, and until when; nothing if it may go on.

    Every required group runs it on every machine, and on at least one that is healthy and older than the soak.

    :param now: epoch seconds.
    """
    for stage in stages:
        if stage.machines:
            yield from _of_stage(image, stage, policy, now)
        elif policy.empty is Empty.HOLD:
            yield f"{stage.name} has no machine to prove {image.id} on (promotion.empty: hold)"


def overtaken(image: Image, stages: Sequence[Stage], frozen: Sequence[Frozen] = ()) -> str:
    """Why an image will never be promoted: an environment before has gone on to a newer one; "" if none has.

    :param frozen: images that nobody may roll out: where one of them runs, ours is still the best there is.
    """
    for stage in (stage for stage in stages if stage.overtakes):
        for machine in stage.machines:
            newer = machine.image
            if newer is None or newer.created <= image.created or same(newer, image):
                continue
            if freeze.of(newer, frozen) is None:
                return f"{stage.name} runs {newer.id} ({newer.name}) by now, newer than {image.id} ({image.name})"
    return ""


def _of_stage(image: Image, stage: Stage, policy: PromotionPolicy, now: float) -> Iterator[str]:
    on_it = [m for m in stage.machines if m.image is not None and same(m.image, image)]
    others = [m.id for m in stage.machines if m not in on_it]
    if others:
        ahead = f"; {BACK}" if overtaken(image, (stage,)) else ""
        yield (
            f"{stage.name}: {len(others)} of {len(stage.machines)} machines do not run {image.id} ({image.name}) yet, "
            f"{others[0]} for one{ahead}"
        )
        return
    since = [m.launched_at for m in on_it if m.ready]
    if not since:
        yield f"{stage.name}: no healthy node runs {image.id} ({image.name})"
    elif min(since) + policy.soak > now:
        until = datetime.fromtimestamp(min(since) + policy.soak, UTC)
        yield f"{stage.name}: {image.id} ({image.name}) soaks until {until:%Y-%m-%d %H:%M UTC}"
