"""EKS managed node groups: described with their updates, rolled once per token, refused by name."""

from __future__ import annotations

import pytest
from tests.node_rotation.contract.conftest import NEW_IMAGE, NEW_RELEASE, OLD_RELEASE, RECOMMENDED, World

from node_rotation.errors import ConflictError, GoneError, PermanentError
from node_rotation.managed.nodegroup import ManagedGroup, Update

MANAGED = "dev-managed"


def described(world: World, *updates: str) -> ManagedGroup:
    return world.cloud.managed_group("dev", "managed", updates)


def release_of(world: World) -> str:
    return world.cloud.parameter(f"{RECOMMENDED}/release_version").value


def test_a_group_says_what_it_runs_and_how_it_is_rolled(world: World) -> None:
    group = described(world)
    assert (group.label, group.asg, group.status) == ("dev/managed", MANAGED, "ACTIVE")
    assert (group.ami_type, group.version) == ("AL2023_x86_64_STANDARD", "1.36")
    assert group.release in (OLD_RELEASE, NEW_RELEASE)
    assert (group.max_unavailable, group.max_unavailable_percentage, group.minimal) == (None, 50, False)
    assert (group.template, group.in_flight, group.updates) == (None, None, ())


def test_a_group_that_eks_does_not_know_is_gone(world: World) -> None:
    with pytest.raises(GoneError):
        world.cloud.managed_group("dev", "nobody")


def test_an_update_that_eks_does_not_know_is_said_to_be_unknown_and_the_group_is_still_there(world: World) -> None:
    """So it is of a group that was made anew under its name since."""
    lost = "00000000-0000-4000-8000-000000000000"
    group = described(world, lost)
    assert (group.label, group.updates, group.unknown) == ("dev/managed", (), (lost,))


def test_a_release_that_does_not_exist_is_refused(world: World) -> None:
    with pytest.raises(PermanentError, match=r"1\.36\.9-20270101"):
        world.cloud.update_managed_group(described(world), release="1.36.9-20270101", force=False, token="none")
    assert described(world).in_flight is None


def test_eks_rolls_a_group_once_per_token_and_refuses_a_second_update(world: World) -> None:
    before = world.group(MANAGED)
    update = world.cloud.update_managed_group(described(world), release=release_of(world), force=False, token="one")
    again = world.cloud.update_managed_group(described(world), release=release_of(world), force=False, token="one")
    assert again.id == update.id
    with pytest.raises(ConflictError):
        world.cloud.update_managed_group(described(world), release=release_of(world), force=False, token="two")
    assert described(world).status == "UPDATING"

    def ended() -> Update | None:
        found = described(world, update.id).update(update.id)
        return found if found is not None and not found.in_flight else None

    over = world.eventually(ended)
    assert (over.status, over.type, over.errors) == ("Successful", "VersionUpdate", ())
    assert over.params["ReleaseVersion"] == NEW_RELEASE
    group, after = described(world), world.group(MANAGED)
    assert (group.status, group.release, group.in_flight) == ("ACTIVE", NEW_RELEASE, None)
    assert (after.min, after.max, after.desired) == (before.min, before.max, before.desired)
    (image,) = {i.image_id for i in world.cloud.instances(world.members(MANAGED)).values()}
    found = world.cloud.image(image)
    assert found is not None
    assert found.name == NEW_IMAGE
