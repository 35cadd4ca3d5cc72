"""Which environments come before which, that none comes before itself, and that their groups can be told apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from node_rotation.clearance.lineage import Origin, family, unclear
from node_rotation.errors import BadInputError
from node_rotation.model import Kind
from node_rotation.policy import Clusters, PromotionPolicy


@dataclass(frozen=True, slots=True)
class Told:
    """What the fleet file says of a cluster's promotion.

    :param origins: of its groups; empty where kops' tags name them.
    """

    environment: str
    promotion: PromotionPolicy
    origins: tuple[Origin, ...]


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


def no_circles(told: Mapping[str, Told], environments: Sequence[str]) -> None:
    """Refuse environments that wait for each other: nothing would ever be promoted.

    :param environments: all there are, in the fleet file's order.
    :raises BadInputError: names the circle.
    """
    comes_from: dict[str, set[str]] = {name: set() for name in environments}
    for one in told.values():
        comes_from[one.environment] |= set(promoted_from(one.environment, one.promotion, environments))
    for start in environments:
        if circle := _back_to(start, start, comes_from, (start,)):
            raise BadInputError(
                f"environment {start}: promotion.after",
                f"environments wait for each other, {' after '.join(circle)}: no image could ever be promoted.",
                "Let one of them come after none, or after previous.",
            )


def all_known(told: Mapping[str, Told], environments: Sequence[str]) -> None:
    """Refuse names in ``promotion.groups`` that no cluster before has a group of, as far as the file knows.

    :param told: ``environment.cluster`` → what is said of it, in the fleet file's order.
    :param environments: all there are, in that order.
    :raises BadInputError: names the group, and those that there are.
    """
    for name, one in told.items():
        before = promoted_from(one.environment, one.promotion, environments)
        ahead = {n: [o.group for o in other.origins] for n, other in told.items() if other.environment in before}
        named_there(f"policy of {name}", one.promotion.groups, ahead)


def named_there(where: str, named: Sequence[str], ahead: Mapping[str, Sequence[str]]) -> None:
    """Refuse a name of which no cluster before has a group: nothing could show an image there.

    :param where: what is to blame.
    :param named: as ``promotion.groups`` has them.
    :param ahead: the clusters before and their groups; where kops' tags name those of one, nobody knows yet.
    :raises BadInputError: names the group, and those that there are.
    """
    if not ahead or not all(ahead.values()):
        return
    known = dict.fromkeys(group for groups in ahead.values() for group in groups)
    if unknown := [name for name in named if name not in known]:
        problem = f"{' and '.join(ahead)} {'has' if len(ahead) == 1 else 'have'} no group {unknown[0]!r}."
        raise BadInputError(f"{where}: promotion.groups", problem, f"Groups there: {', '.join(known)}.")


def told_apart(told: Mapping[str, Told], environments: Sequence[str]) -> None:
    """Refuse groups of which nothing says which groups ahead show their images, as far as the file knows.

    :param told: ``environment.cluster`` → what is said of it, in the fleet file's order.
    :param environments: all there are, in that order.
    :raises BadInputError: names the group, and those that it could be.
    """
    for name, one in told.items():
        for ahead in _ahead(name, told, environments):
            for ours in one.origins:
                shown = family(ours, told[ahead].origins)
                if shown.unclear and ours.kind is not Kind.EKS_MANAGED:  # EKS knows those by their AMI type
                    in_turn = told[ahead].environment == one.environment
                    problem, remedy = unclear(ours.group, ahead, shown, in_turn=in_turn)
                    raise BadInputError(f"{name} group {ours.group}: promotion", problem, remedy)


def _ahead(name: str, told: Mapping[str, Told], environments: Sequence[str]) -> Iterator[str]:
    """The clusters that one waits for, but for those whose groups it names itself."""
    one = told[name]
    if not one.promotion.groups:
        before = promoted_from(one.environment, one.promotion, environments)
        yield from (other for other, found in told.items() if found.environment in before)
    if one.promotion.clusters is Clusters.IN_TURN:
        earlier = takewhile(lambda other: other != name, told)
        yield from (other for other in earlier if told[other].environment == one.environment)


def _back_to(start: str, at: str, comes_from: Mapping[str, set[str]], way: tuple[str, ...]) -> tuple[str, ...]:
    for earlier in sorted(comes_from[at]):
        if earlier == start:
            return (*way, start)
        if earlier not in way and (found := _back_to(start, earlier, comes_from, (*way, earlier))):
            return found
    return ()
