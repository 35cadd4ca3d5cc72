"""The Lease, as both worlds keep it: whoever writes second is told so."""

from __future__ import annotations

import pytest

from node_rotation.errors import ConflictError, PermanentError

LEDGER = "node-rotation/ledger"


def test_there_is_none_until_somebody_makes_it(world):
    assert world.cluster.lease() is None

    made = world.cluster.create_lease("run-1", 600.0, {LEDGER: "{}"})

    assert world.cluster.lease() == made
    assert (made.holder, made.duration_s, made.annotations) == ("run-1", 600.0, {LEDGER: "{}"})
    assert made.renewed_at == pytest.approx(world.clock.now(), abs=5)


def test_only_one_of_two_makes_it(world):
    world.cluster.create_lease("run-1", 600.0, {})

    with pytest.raises(ConflictError):
        world.cluster.create_lease("run-2", 600.0, {})

    assert world.cluster.lease().holder == "run-1"


def test_an_update_replaces_everything(world):
    made = world.cluster.create_lease("run-1", 600.0, {LEDGER: "{}", "other": "x"})

    written = world.cluster.update_lease(
        made, holder="run-2", duration_s=30.0, annotations={LEDGER: '{"a": 1}'}, renewed_at=1_800_000_000.5
    )

    assert world.cluster.lease() == written
    assert (written.holder, written.duration_s, written.renewed_at) == ("run-2", 30.0, 1_800_000_000.5)
    assert written.annotations == {LEDGER: '{"a": 1}'}
    assert written.version != made.version


def test_it_says_since_when_its_holder_has_it(world):
    made = world.cluster.create_lease("run-1", 600.0, {})
    kept = world.cluster.update_lease(made, holder="run-1", duration_s=600.0, annotations={}, renewed_at=1.8e9)
    taken = world.cluster.update_lease(kept, holder="run-2", duration_s=600.0, annotations={}, renewed_at=1.8e9 + 1)

    assert (made.acquired_at, kept.acquired_at, taken.acquired_at) == (made.renewed_at, made.renewed_at, 1.8e9 + 1)
    assert world.cluster.lease() == taken


def test_whoever_read_an_older_version_loses(world):
    made = world.cluster.create_lease("run-1", 600.0, {})
    world.cluster.update_lease(made, holder="run-1", duration_s=600.0, annotations={"a": "1"}, renewed_at=1.8e9)

    with pytest.raises(ConflictError):
        world.cluster.update_lease(made, holder="run-2", duration_s=600.0, annotations={"a": "2"}, renewed_at=1.8e9)
    with pytest.raises(ConflictError):
        world.cluster.delete_lease(made)

    assert world.cluster.lease().annotations == {"a": "1"}


def test_deleting_it_twice_is_fine(world):
    made = world.cluster.create_lease("run-1", 600.0, {})

    world.cluster.delete_lease(made)
    world.cluster.delete_lease(made)

    assert world.cluster.lease() is None


def test_a_deleted_lease_does_not_come_back_by_renewing_it(world):
    made = world.cluster.create_lease("run-1", 600.0, {})
    world.cluster.delete_lease(made)

    with pytest.raises(ConflictError):
        world.cluster.update_lease(made, holder="run-1", duration_s=600.0, annotations={}, renewed_at=1.8e9)

    assert world.cluster.lease() is None


def test_annotations_hold_256_kib_names_included(world):
    made = world.cluster.create_lease("run-1", 600.0, {})
    most = 262_144 - len(LEDGER)

    full = world.cluster.update_lease(
        made, holder="run-1", duration_s=600.0, annotations={LEDGER: "x" * most}, renewed_at=1_800_000_000.0
    )
    with pytest.raises(PermanentError, match="262144"):
        world.cluster.update_lease(
            full, holder="run-1", duration_s=600.0, annotations={LEDGER: "x" * (most + 1)}, renewed_at=1_800_000_000.0
        )

    assert world.cluster.lease() == full
