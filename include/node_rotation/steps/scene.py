"""What a step looks at: one batch's claim, its machines, and the world around them."""

from __future__ import annotations

from dataclasses import dataclass

from node_rotation import lock, names
from node_rotation.errors import BlockedError
from node_rotation.eviction import Leave, decide
from node_rotation.ledger import Baseline, Claim, ClaimState, Ledger, parse
from node_rotation.model import Batch, Strategy
from node_rotation.outcome import CLEAR_BATCH, Blocked
from node_rotation.policy import DrainPolicy
from node_rotation.run import Run
from node_rotation.workloads.lost import lost
from node_rotation.world.aws import GONE_STATES, LEAVING, Instance, Member, ScalingGroup
from node_rotation.world.kubernetes import Lease, Node, Pod
from node_rotation.world.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Scene:
    """A batch in its surroundings, as one observation shows it."""

    run: Run
    snapshot: Snapshot
    ledger: Ledger
    claim: Claim
    baseline: Baseline

    @property
    def group(self) -> ScalingGroup:
        """The batch's Auto Scaling group."""
        return self.snapshot.groups[self.baseline.asg]

    @property
    def now(self) -> float:
        """The clock's time, epoch seconds."""
        return self.run.clock.now()

    def waited(self, since: float) -> float:
        """Seconds since then, without those in which nobody could look, and what was before them: it counts anew.

        :param since: epoch seconds.
        """
        return self.now - max(since, self.snapshot.watched_since)

    @property
    def sick(self) -> tuple[str, ...]:
        """Keys of the workloads that were broken before the run."""
        return tuple(self.ledger.sick.unhealthy) if self.ledger.sick else ()

    @property
    def not_ready(self) -> tuple[str, ...]:
        """Names of the nodes that were NotReady before the run."""
        return self.ledger.sick.not_ready if self.ledger.sick else ()

    def old_nodes(self) -> tuple[Node, ...]:
        """The Nodes of the old machines that still have one."""
        ours = (m for m in self.claim.machines if not self.taken_out(m))
        return tuple(n for m in ours if (n := self.snapshot.node_of(m)) is not None)

    def taken_out(self, machine: str) -> bool:
        """Whether somebody else took an old machine out of its group: see :func:`taken_out`."""
        return taken_out(self.claim, self.baseline, machine, self.snapshot)


def ledger_of(lease: Lease | None, holder: str) -> Ledger | None:
    """The ledger in a Lease, if this holder has it."""
    if lease is None or lease.holder != holder:
        return None
    return parse(lease.annotations.get(names.LEDGER, ""))


def scene(run: Run, batch: Batch) -> Scene | Blocked:
    """The batch as the shared look shows it; Blocked if it holds no slots."""
    snapshot = run.look()
    return place(run, batch.name, snapshot, ledger_of(snapshot.lease, run.id))


def place(run: Run, batch: str, snapshot: Snapshot, ledger: Ledger | None) -> Scene | Blocked:
    """Find a batch's claim and its group's baseline.

    :param batch: the batch's name.
    :param ledger: None if this run does not hold the lock.
    """
    claim = ledger.claim(batch) if ledger else None
    baseline = ledger.groups.get(claim.group) if ledger and claim else None
    if baseline is not None and (lost := without_group(batch, baseline, snapshot)) is not None:
        return lost
    if ledger is None or claim is None or baseline is None:
        return Blocked(
            f"batch {batch} holds no slots of {run.settings.name}: run {run.id} has not admitted it, or was restored",
            (f"batch {batch}",),
            "Start again with the batch's admit step.",
        )
    return Scene(run, snapshot, ledger, claim, baseline)


def without_group(batch: str, baseline: Baseline, snapshot: Snapshot) -> Blocked | None:
    """Why a batch can't go on once its group was deleted, by EKS or in Auto Scaling; None while it is there."""
    known = baseline.strategy is not Strategy.MANAGED or baseline.asg in snapshot.managed
    if known and baseline.asg in snapshot.groups:
        return None
    lost = "belongs to no node group of EKS" if baseline.asg in snapshot.groups else "does not exist"
    return Blocked(
        f"Auto Scaling group {baseline.asg} of batch {batch} {lost} any more",
        (f"asg {baseline.asg}", f"batch {batch}"),
        "End this run and start a new one: it plans what there is now.",
    )


def taken_back(place: Scene) -> Blocked | None:
    """Why no step of a batch can go on by itself: it failed, and its old machines stay; None if that is not so.

    Only admission tries a batch anew: it gives it slots, and heals what is left of the last try.
    """
    claim, instances = place.claim, place.snapshot.instances
    if claim.state not in (ClaimState.FAILED, ClaimState.HEALED) or all(gone(instances.get(m)) for m in claim.machines):
        return None
    what = f"batch {claim.batch} failed and was taken back{f': {claim.why}' if claim.why else ''}"
    return Blocked(what, (f"batch {claim.batch}",), CLEAR_BATCH.capitalize())


def acting(run: Run, batch: Batch) -> Scene:
    """The scene for an act: the lock is read again first.

    :raises BlockedError: if the lock is another's, or the batch holds no slots.
    """
    found = lock.require(run)
    placed = place(run, batch.name, run.look(), found.ledger)
    if isinstance(placed, Blocked):
        raise BlockedError(placed)
    return placed


def over(run: Run, batch: Batch) -> bool:
    """True if nothing is left to do on a batch: its machines are gone, and this run holds no slots for it.

    So it is when a step is cleared after its run has ended.
    """
    snapshot = run.look()
    ledger = ledger_of(snapshot.lease, run.id)
    held = ledger is not None and ledger.claim(batch.name) is not None
    return not held and machines_gone(snapshot, batch)


def machines_gone(snapshot: Snapshot, batch: Batch) -> bool:
    """Whether none of a batch's old machines is left."""
    return all(gone(snapshot.instances.get(m.instance_id)) for m in batch.machines)


def fresh_group(run: Run, asg: str) -> ScalingGroup:
    """A group read now, for changes that depend on its exact state.

    :raises BlockedError: if it is gone.
    """
    found = run.cloud.groups([asg]).get(asg)
    if found is None:
        raise BlockedError(
            Blocked(
                f"Auto Scaling group {asg} does not exist (any more)",
                (f"asg {asg}",),
                "Correct the group's name or tags in the fleet file.",
            )
        )
    return found


def gone(instance: Instance | None) -> bool:
    """True if EC2 no longer runs the machine, or soon won't."""
    return instance is None or instance.state in GONE_STATES


def taken_out(claim: Claim, baseline: Baseline, machine: str, snapshot: Snapshot) -> bool:
    """Whether somebody else detached a machine, to look into it say: it runs, and is left alone.

    Not asked of machines that we detach ourselves: one look shows their tag and their group at two moments.
    """
    group, instance = snapshot.groups.get(baseline.asg), snapshot.instances.get(machine)
    if claim.strategy in (Strategy.DETACH, Strategy.MANAGED) or group is None or gone(instance):
        return False
    return group.member(machine) is None


def terminated(instance: Instance | None) -> bool:
    """True only if EC2 says terminated, or has forgotten it."""
    return instance is None or instance.state == "terminated"


def stays(lifecycle: str) -> bool:
    """True for a member that is, or will be, in service."""
    return not lifecycle.startswith(LEAVING)


def still_detaching(member: Member, instance: Instance) -> bool:
    """True for a member that we detached and its group still lists: its tag alone will tell whose orphan it is."""
    return member.lifecycle.startswith("Detach") and names.DETACHED_FROM in instance.tags


def staying(group: ScalingGroup) -> frozenset[str]:
    """The members that are, or will be, in service."""
    return frozenset(m.instance_id for m in group.members if stays(m.lifecycle))


def ending(snapshot: Snapshot, machine: str) -> bool:
    """True for a machine that its group is terminating, which a lifecycle hook may delay: its marks go with it."""
    members = (group.member(machine) for group in snapshot.groups.values())
    return any(member is not None and member.lifecycle.startswith("Terminating") for member in members)


def holds_node(pod: Pod, snapshot: Snapshot, node: Node) -> bool:
    """True for a pod that must be gone before its machine goes, as a drain sees it."""
    now = snapshot.taken_at
    return not lost(pod, node, snapshot) and not isinstance(
        decide(pod, DrainPolicy(), snapshot.budgets, node=node, drain_started_at=now, now=now), Leave
    )


def busy_pods(snapshot: Snapshot, node: Node | None) -> tuple[Pod, ...]:
    """The pods that still keep a machine."""
    return tuple(p for p in snapshot.pods_on(node.name) if holds_node(p, snapshot, node)) if node else ()


def span(seconds: float) -> str:
    """A duration for people: ``42 s``, ``3 min 20 s``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
