"""Which environments come before which, and that none comes before itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from node_rotation.errors import BadInputError
from node_rotation.policy import PromotionPolicy

Told = Mapping[str, tuple[str, PromotionPolicy]]
"""Cluster → its environment, and what its policy says of promotion."""


def promoted_from(environment: str, promotion: PromotionPolicy, environments: Sequence[str]) -> tuple[str, ...]:
    """The environments that an image comes from.

    :param environments: all there are, in the fleet file's order.
    :raises BadInputError: if there is no such environment.
    """
    if promotion.after == "previous":
        place = environments.index(environment)
        return tuple(environments[max(0, place - 1) : place])
    unknown = [name for name in promotion.after if name not in environments]
    if unknown:
        raise BadInputError(
            f"environment {environment}: promotion.after",
            f"there is no environment {unknown[0]!r}.",
            f"Known: {', '.join(environments)}.",
        )
    return promotion.after


def no_circles(told: Told, environments: Sequence[str]) -> None:
    """Refuse environments that wait for each other: nothing would ever be promoted.

    :param environments: all there are, in the fleet file's order.
    :raises BadInputError: names the circle.
    """
    comes_from: dict[str, set[str]] = {name: set() for name in environments}
    for environment, promotion in told.values():
        comes_from[environment] |= set(promoted_from(environment, promotion, environments))
    for start in environments:
        if circle := _back_to(start, start, comes_from, (start,)):
            raise BadInputError(
                f"environment {start}: promotion.after",
                f"environments wait for each other, {' after '.join(circle)}: no image could ever be promoted.",
                "Let one of them come after none, or after previous.",
            )


def _back_to(start: str, at: str, comes_from: Mapping[str, set[str]], way: tuple[str, ...]) -> tuple[str, ...]:
    for earlier in sorted(comes_from[at]):
        if earlier == start:
            return (*way, start)
        if earlier not in way and (found := _back_to(start, earlier, comes_from, (*way, earlier))):
            return found
    return ()
