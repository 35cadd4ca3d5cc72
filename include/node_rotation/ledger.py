"""What a run writes down in the Lease's annotation: frozen values, one JSON document, versioned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Literal

from pydantic import ValidationError, field_validator

from node_rotation.configuration.intake_policy import IntakePolicy
from node_rotation.errors import BlockedError
from node_rotation.model import ImageStep, Strategy, TemplateVersion, Value
from node_rotation.outcome import REASON_LENGTH, Blocked

MAX_BYTES = 262_144
"""What the annotations of one object may hold, names included (Kubernetes, apimachinery: TotalAnnotationSizeLimitB)."""
MOST_HEARD = 50  # an annotation holds 256 KiB
MOST_DENIED = 3
DENIAL_LENGTH = 200


class ClaimState(StrEnum):
    """Where a batch stands, as far as its slots are concerned."""

    ADMITTED = "admitted"
    PASSED = "passed"
    FAILED = "failed"
    HEALED = "healed"


class Resizing(Value):
    """A change of a group's desired size, written down before AWS is asked for it.

    ``machine`` is the one that leaves its group, or comes back to it, together with the change; none for a mere size.
    ``min`` and ``max`` are the bounds that are in the way and moved with it: until it is counted, the former one of
    ours may still stand. ``answered`` is True once AWS has said that the size is changed; the group may show it later.
    """

    since: float
    was: int
    to: int
    min: int | None = None
    max: int | None = None
    machine: str = ""
    answered: bool = False

    @property
    def by(self) -> int:
        """How far it moves desired."""
        return self.to - self.was


class Heard(Value):
    """What others did to an object while the run was at work, and when that was first seen."""

    at: float
    object: str
    what: str


class Baseline(Value):
    """A node group as it was before the run changed anything; times are epoch seconds.

    Its sizes move with what others change meanwhile. ``own`` is what this run has added to desired, ``resizing`` a
    change of it that was begun; ``min_lowered_to`` and ``max_raised_to`` are the bounds that we have moved.
    ``suspended`` is True once ``suspended_by_us`` were: one of them that runs was resumed by somebody.
    ``members`` are those that are nobody's replacement: all before the run, and who came on another image before the
    image step was over. ``uneven`` is the difference between the richest and the poorest zone, machines. Every member
    served the target groups ``served`` (ARNs); ``served_partly`` says how many served those that only some did. The
    image step made ``template_made`` from ``template_before``; where the image was at fault the group launches
    ``template_back`` again, and the other two are forgotten. ``left_larger`` is the group's tag as an earlier run left
    it, whose sizes are smaller: it stays until somebody has decided.
    """

    asg: str
    strategy: Strategy
    min: int
    max: int
    desired: int
    suspended_by_us: tuple[str, ...] = ()
    own: int = 0
    resizing: Resizing | None = None
    min_lowered_to: int | None = None
    max_raised_to: int | None = None
    suspended: bool = False
    uneven: int = 0
    members: tuple[str, ...] = ()
    served: tuple[str, ...] = ()
    served_partly: Mapping[str, int] = {}
    taken_at: float
    template_before: TemplateVersion | None = None
    template_made: TemplateVersion | None = None
    template_back: TemplateVersion | None = None
    left_larger: str = ""

    @property
    def added(self) -> int:
        """What this run has added to desired, that included which AWS has answered and nobody has counted yet."""
        change = self.resizing
        return self.own + (change.by if change is not None and change.answered else 0)


class Sickness(Value):
    """What was broken in the cluster before the run, and is so since: the gate fails on regressions only.

    Of workloads and budgets it says how many of how many were well.
    """

    not_ready: tuple[str, ...] = ()
    unhealthy: Mapping[str, tuple[int, int]] = {}
    broken_budgets: Mapping[str, tuple[int, int]] = {}
    unready_system_pods: tuple[str, ...] = ()

    @field_validator("unhealthy", "broken_budgets", mode="before")
    @classmethod
    def _names_alone(cls, said: object) -> object:
        """A run that an older version began wrote down no numbers: there is nothing that they can fall below."""
        return dict.fromkeys(said, (0, 0)) if isinstance(said, list | tuple) else said


class Claim(Value):
    """The slots a batch holds and what happened to it; only ``admitted`` and ``failed`` ones hold slots.

    ``machines`` are the old instance ids; ``replacements`` maps an old id to the new one; ``spared`` are those that
    need none, because somebody else made the group smaller meanwhile; ``evicted`` are
    keys of workloads (``Kind namespace/name``) that had pods on the old machines, ``serving`` says how many Ready ones
    each; ``denied`` are pods that an admission webhook keeps there (``namespace/name``), with its words. ``asked`` is
    True once AWS has said
    that nobody protects them from termination. ``leaving_since`` is when they were first taken out of target groups:
    from then on nobody counts on them there. EKS was asked for ``update`` with ``update_token``, which is written down
    before it is asked. ``back`` are the old machines that heal attached again.
    ``in_vain`` is True if it passed without a new machine, its old ones having gone by themselves, and nobody else in
    its group was Ready on the target.
    """

    batch: str
    group: str
    machines: tuple[str, ...]
    strategy: Strategy
    canary: bool = False
    state: ClaimState = ClaimState.ADMITTED
    since: float
    replacements: Mapping[str, str] = {}
    spared: tuple[str, ...] = ()
    evicted: tuple[str, ...] = ()
    serving: tuple[int, ...] = ()
    denied: Mapping[str, str] = {}
    asked: bool = False
    leaving_since: float | None = None
    drain_since: float | None = None
    last_eviction: float | None = None
    terminate_since: float | None = None
    gate_since: float | None = None
    green_since: float | None = None
    passed_at: float | None = None
    update_token: str = ""
    update: str = ""
    why: str = ""
    image_fault: bool = False
    back: tuple[str, ...] = ()
    in_vain: bool = False

    @property
    def proves(self) -> bool:
        """True if a new machine passed the gate: its image is a good one."""
        return self.state is ClaimState.PASSED and not self.in_vain

    @property
    def open(self) -> bool:
        """True while the claim still has to be passed or healed."""
        return self.state in (ClaimState.ADMITTED, ClaimState.FAILED)

    def asked_for(self, update: str) -> bool:
        """True if EKS' update is this batch's own, or may be, because EKS' answer was lost.

        :param update: the id of the one that EKS works on.
        """
        return bool(self.update_token) and self.update in ("", update)


class ClosedIntake(Value):
    """An intake, or a paused autoscaler, from before it is closed until after it is opened.

    Whoever has the ledger can open it.

    ``closed`` is False as long as no answer said so; ``since`` is when closing began, ``opening_since`` opening.
    """

    policy: IntakePolicy
    since: float
    closed: bool = False
    opening_since: float | None = None
    trouble: str = ""


class ImageRun(Value):
    """A group's command or pod, written down before it is begun; ``created`` once the pod of this name was.

    ``heard`` is when the process that waits for a command last said so, epoch seconds.
    """

    how: ImageStep
    since: float
    pod: str = ""
    namespace: str = ""
    created: bool = False
    ended: bool = False
    heard: float | None = None


class FoundDead(Value):
    """When somebody first took a dead run's lock to clean up after it, and when who has it now did; epoch seconds."""

    first: int
    last: int


class Ledger(Value):
    """Everything a run has to remember. ``run`` made it, even when a sweep holds the lock now."""

    schema_version: Literal[1] = 1
    run: str
    plan: str
    cluster: str
    sick: Sickness | None = None
    intake: ClosedIntake | None = None
    autoscaler: ClosedIntake | None = None
    image_runs: Mapping[str, ImageRun] = {}
    groups: Mapping[str, Baseline] = {}
    claims: tuple[Claim, ...] = ()
    others: tuple[Heard, ...] = ()
    found_dead: FoundDead | None = None

    def claim(self, batch: str) -> Claim | None:
        """The claim of a batch, or None before it is admitted.

        :param batch: the batch's name.
        """
        return next((c for c in self.claims if c.batch == batch), None)

    def claims_of(self, group: str) -> tuple[Claim, ...]:
        """The claims of one group, in the order of admission."""
        return tuple(c for c in self.claims if c.group == group)

    @property
    def updated(self) -> frozenset[str]:
        """The managed groups of whose batches one has asked EKS for an update, or was about to."""
        return frozenset(c.group for c in self.claims if c.update_token)

    @property
    def assigned(self) -> frozenset[str]:
        """Every instance id that is somebody's replacement."""
        return frozenset(new for c in self.claims for new in c.replacements.values())

    def with_claim(self, claim: Claim) -> Ledger:
        """The same ledger with one claim put in, or in the place of the batch's earlier one."""
        kept = tuple(claim if c.batch == claim.batch else c for c in self.claims)
        return self.model_copy(update={"claims": kept if self.claim(claim.batch) else (*kept, claim)})

    def with_group(self, name: str, baseline: Baseline) -> Ledger:
        """The same ledger with a group's baseline."""
        return self.model_copy(update={"groups": {**self.groups, name: baseline}})

    def with_image_run(self, group: str, begun: ImageRun) -> Ledger:
        """The same ledger with what a group's image step began."""
        return self.model_copy(update={"image_runs": {**self.image_runs, group: begun}})

    def heard(self, at: float, what: str, changes: Iterable[str]) -> Ledger:
        """The same ledger with what others did to an object; the last ones are kept, for the report.

        :param at: epoch seconds.
        :param what: the object, e.g. ``asg dev-workers``.
        """
        new = tuple(Heard(at=at, object=what, what=change) for change in changes)
        return self.model_copy(update={"others": (*self.others, *new)[-MOST_HEARD:]}) if new else self

    def taken_up(self, now: float) -> Ledger:
        """The same ledger for whoever goes on after a pause: in it nobody worked, so it counts against no timeout.

        Its open batches are healed, for which nobody asks what they evicted: it must not outgrow the annotation.

        :param now: epoch seconds.
        """
        first = self.found_dead.first if self.found_dead else int(now)
        ledger = self.model_copy(update={"found_dead": FoundDead(first=first, last=int(now))})
        for claim in (c for c in self.claims if c.open):
            begun = {
                "leaving_since": claim.leaving_since,
                "drain_since": claim.drain_since,
                "terminate_since": claim.terminate_since,
            }
            again: dict[str, float | None] = {key: now for key, since in begun.items() if since is not None}
            again |= {"since": now, "gate_since": None, "green_since": None}
            forgotten: dict[str, object] = {"evicted": (), "serving": (), "denied": {}}
            ledger = ledger.with_claim(claim.model_copy(update={**again, **forgotten}))
        for field, closed in (("intake", self.intake), ("autoscaler", self.autoscaler)):
            if closed is not None:
                ledger = ledger.model_copy(update={field: closed.model_copy(update={"opening_since": None})})
        return ledger

    def without_group(self, name: str) -> Ledger:
        """The same ledger without a group that was restored; its claims stay, for the report."""
        return self.model_copy(update={"groups": {k: v for k, v in self.groups.items() if k != name}})


Change = Callable[[Ledger], Ledger]


def claim_change(batch: str, **fields: object) -> Change:
    """A change that sets fields of one batch's claim; nothing if there is no claim.

    A batch that passes, fails or is healed forgets what it evicted or could not: only who is in flight is asked for it,
    and an annotation holds 256 KiB. Of why it failed only the beginning is kept: it may name everything there is.

    :param batch: the batch's name.
    :param fields: of ``Claim``.
    """
    if fields.get("state", ClaimState.ADMITTED) is not ClaimState.ADMITTED:
        fields = {"evicted": (), "serving": (), "denied": {}, **fields}
    if "why" in fields:
        fields = {**fields, "why": str(fields["why"])[:REASON_LENGTH]}

    def change(ledger: Ledger) -> Ledger:
        claim = ledger.claim(batch)
        return ledger.with_claim(claim.model_copy(update=fields)) if claim else ledger

    return change


@lru_cache(maxsize=16)  # every look of every batch reads the same few texts
def parse(text: str) -> Ledger:
    """Read a ledger.

    :param text: the annotation's JSON.
    :raises BlockedError: if it is not a ledger of a version we know.
    """
    try:
        return Ledger.model_validate_json(text)
    except ValidationError as error:
        raise BlockedError(
            Blocked(
                f"the Lease's ledger can't be read ({error.error_count()} problems)",
                ("lease kube-system/node-rotation",),
                "Use the version of node-rotation that wrote it, or run a sweep with that version.",
            )
        ) from error


def dump(ledger: Ledger) -> str:
    """Write a ledger, defaults left out: an annotation holds 256 KiB."""
    return ledger.model_dump_json(exclude_defaults=True)
