"""What a run may only make stricter: whether, when and with whose consent a cluster is touched. Pure.

How its machines are replaced (strategy, budget, drain, times) a run may say as it likes: the plan shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from node_rotation.clearance.promotion_order import promoted_from
from node_rotation.configuration.durations import written
from node_rotation.errors import BadInputError
from node_rotation.policy import Clusters, Empty

if TYPE_CHECKING:
    from node_rotation.policy import ApprovalPolicy, BlastRadius, Policy, PromotionPolicy, Share

_ONLY_THE_FILE = ("windows", "blackouts", "notify")
_RECORDED = "Say {} instead: the reason goes on record."
_REMEDIES = {
    "windows": _RECORDED.format("outside_windows=REASON"),
    "blackouts": _RECORDED.format("outside_windows=REASON"),
    "promotion": _RECORDED.format("skip_promotion=REASON"),
    "approval": "Have the plan approved: rotate asks on a terminal or takes --yes, Airflow asks in its task approve.",
}
_ELSE = "Leave it out, or have the fleet file changed."


class _Looser(NamedTuple):
    """A setting that a run would loosen: what the policy says, and what the run says."""

    setting: str
    own: object
    asked: object


def for_the_file(run: Mapping[str, Any]) -> None:
    """Refuse settings that no run has.

    :param run: its parameters, a partial policy.
    :raises BadInputError: names the setting.
    """
    for setting in _ONLY_THE_FILE:
        if setting in run:
            problem = "is for the fleet file, not for a run."
            raise BadInputError(f"run parameters: {setting}", problem, _remedy(setting))


def keep(cluster: str, environments: Sequence[str], own: Policy, asked: Policy) -> None:
    """Refuse a run that asks for less than the policy does.

    :param cluster: ``environment.cluster``.
    :param environments: all there are, in promotion order.
    :param own: what the fleet file alone says, of a cluster or of one of its groups.
    :param asked: the same with the run's parameters on top.
    :raises BadInputError: names the setting, what policy and run say, and the way out.
    """
    for found in _looser(cluster, environments, own, asked):
        problem = (
            f"the policy of {cluster} says {_said(found.own)}, this run {_said(found.asked)}: "
            "a run may be stricter than the fleet file, not looser."
        )
        raise BadInputError(f"run parameters: {found.setting}", problem, _remedy(found.setting))


def _looser(cluster: str, environments: Sequence[str], own: Policy, asked: Policy) -> Iterator[_Looser]:
    yield from _approval(own.approval, asked.approval)

    def after(promotion: PromotionPolicy) -> tuple[str, ...]:
        return promoted_from(cluster.partition(".")[0], promotion, environments)

    yield from _promotion(own.promotion, asked.promotion, after)
    yield from _control_plane(own, asked)
    if own.intake is not None and asked.intake != own.intake:
        yield _Looser("intake", "how it is closed", "something else")
    if own.autoscaler.pause and asked.autoscaler != own.autoscaler:
        yield _Looser("autoscaler", "how it is paused", "something else")
    left_out = [check.label for check in own.gate.checks if check not in asked.gate.checks]
    if left_out:
        yield _Looser("gate.checks", left_out[0], "nothing of it")


def _approval(own: ApprovalPolicy, asked: ApprovalPolicy) -> Iterator[_Looser]:
    if own.required and not asked.required:
        yield _Looser("approval.required", own.required, asked.required)
    if own.above.control_plane and not asked.above.control_plane:
        yield _Looser("approval.above.control_plane", own.above.control_plane, asked.above.control_plane)
    if _more(own.above.share, asked.above.share):
        yield _Looser("approval.above.share", own.above.share, asked.above.share)
    if _asks(own.required, own.above) and asked.timeout > own.timeout:
        yield _Looser("approval.timeout", own.timeout, asked.timeout)


def _asks(required: bool, above: BlastRadius) -> bool:
    return required or above.control_plane or above.share is not None


def _more(own: Share | None, asked: Share | None) -> bool:
    """Machines and percentages can't be compared: the size of the cluster is not known here."""
    if own is None or own == asked:
        return False
    if isinstance(own, int) and isinstance(asked, int):
        return asked > own
    if isinstance(own, str) and isinstance(asked, str):
        return int(asked.rstrip("%")) > int(own.rstrip("%"))
    return True


def _promotion(
    own: PromotionPolicy, asked: PromotionPolicy, after: Callable[[PromotionPolicy], tuple[str, ...]]
) -> Iterator[_Looser]:
    before = after(own)
    if not set(before) <= set(after(asked)):
        yield _Looser("promotion.after", before, after(asked))
    if before and asked.soak < own.soak:
        yield _Looser("promotion.soak", own.soak, asked.soak)
    if before and _other_groups(own.groups, asked.groups):
        yield _Looser("promotion.groups", own.groups or "those of the same image", asked.groups)
    if before and own.empty is Empty.HOLD and asked.empty is not Empty.HOLD:
        yield _Looser("promotion.empty", own.empty, asked.empty)
    if own.clusters is Clusters.IN_TURN and asked.clusters is not Clusters.IN_TURN:
        yield _Looser("promotion.clusters", own.clusters, asked.clusters)


def _other_groups(own: Sequence[str], asked: Sequence[str]) -> bool:
    """More names ask for more; names and those of the same image can't be compared."""
    return not set(own) <= set(asked) if own else bool(asked)


def _control_plane(own: Policy, asked: Policy) -> Iterator[_Looser]:
    """Whom etcd's probe asks is the fleet file's too: a run that named others would have itself told what it likes."""
    ours, theirs = own.control_plane, asked.control_plane
    if theirs.without_probe and not ours.without_probe:
        yield _Looser("control_plane.without_probe", ours.without_probe, theirs.without_probe)
    if theirs.allow_outage and not ours.allow_outage:
        yield _Looser("control_plane.allow_outage", ours.allow_outage, theirs.allow_outage)
    if changed := [name for name, access in ours.etcd.items() if theirs.etcd.get(name) != access]:
        yield _Looser("control_plane.etcd", f"where {changed[0]} answers", "something else")


def _remedy(setting: str) -> str:
    return _REMEDIES.get(setting.partition(".")[0], _ELSE)


def _said(value: object) -> str:
    if isinstance(value, bool | None):
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, float):
        return written(value)
    return (", ".join(value) or "none") if isinstance(value, tuple) else str(value)
