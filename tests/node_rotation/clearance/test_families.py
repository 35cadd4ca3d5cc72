"""Two clusters with groups of two kinds of machines each: who waits for whom, over worlds in memory."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node_rotation import eks_world
from tests.node_rotation.clearance.test_look import why
from tests.node_rotation.crashes import FAST

from node_rotation import detect, engine
from node_rotation.clearance import look as clearance
from node_rotation.clearance.look import Superseded
from node_rotation.fleet import Fleet, Settings
from node_rotation.outcome import Blocked, Done
from node_rotation.planning import make_plan
from node_rotation.run import Run
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld

AFTER = {"promotion": {"after": "previous", "soak": "1h"}}
GPU = "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/nvidia"
GPU_OLD = "amazon-eks-node-al2023-x86_64-nvidia-1.36-v20261101"
GPU_NEW = "amazon-eks-node-al2023-x86_64-nvidia-1.36-v20261109"


class Land:
    """Staging, then prod.

    :param worlds: of both, by their names.
    :param in_turn: they are clusters of one environment, one after the other.
    """

    def __init__(self, staging: MemoryWorld, prod: MemoryWorld, *, in_turn: bool = False, **policy: Any) -> None:
        self.staging, self.prod = staging, prod
        names = ("prod", "prod") if in_turn else ("staging", "prod")
        self.worlds = {f"{env}.{w.seed.cluster}": w for env, w in zip(names, (staging, prod), strict=True)}
        clusters = [self._cluster(world) for world in (staging, prod)]
        environments = [{"name": env, "clusters": [one]} for env, one in zip(names, clusters, strict=True)]
        if in_turn:
            environments = [{"name": "prod", "clusters": clusters}]
        promotion = {"promotion": {"clusters": "in_turn"}} if in_turn else AFTER
        self.fleet = Fleet.model_validate(
            {"defaults": {**FAST, "canary": False, **promotion, **policy}, "environments": environments}
        )

    def _cluster(self, world: MemoryWorld) -> dict[str, Any]:
        groups = [group.model_dump(exclude_unset=True) for group in world.settings().cluster.groups]
        return {"name": world.seed.cluster, "aws": {"region": "eu-central-1"}, "groups": groups}

    def connect(self, settings: Settings) -> Any:
        world = self.worlds[settings.name]
        return world.cloud, world.cluster

    def run(self, name: str) -> Run:
        (world,) = (w for w in self.worlds.values() if w.seed.cluster == name)
        settings = self.fleet.settings(name)
        reached = (world.cloud, world.cluster, world.clock)
        snapshot = detect.observe(settings, *reached)
        drifts = [detect.detect(settings, group, *reached, snapshot=snapshot) for group in settings.groups]
        plan = make_plan(settings, drifts, snapshot, world.clock.now())
        assert plan.blockers == ()
        return detect.make_run(f"run-{name}", plan, settings, *reached, others=self.connect)


def by_template(name: str, *groups: str) -> MemoryWorld:
    """Groups whose own templates launch a new image: one of the base images, or of those for GPUs, which are newer."""

    def group(called: str) -> seeds.Group:
        family = "gpu" if called == "gpu" else "base"
        return seeds.Group(called, image=f"{family}-old", next_image=f"{family}-new", desired=2)

    created = {"base-old": 1, "gpu-old": 2, "base-new": 6, "gpu-new": 8}
    return MemoryWorld.of(
        cluster=name,
        environment=name,
        groups=tuple(map(group, groups)),
        images=tuple(seeds.Image(image, created=f"2026-11-0{day}T06:00:00Z") for image, day in created.items()),
    )


def managed(name: str, workers: str, gpus: str) -> MemoryWorld:
    """Two managed groups of different AMI types, which are called as the caller likes."""
    images = (
        seeds.Image(GPU_OLD, created="2026-11-01T06:00:00Z", owner="amazon", release=eks_world.OLD_RELEASE),
        seeds.Image(GPU_NEW, created="2026-11-08T12:00:00Z", owner="amazon", release="1.36.2-20261109"),
    )
    base = eks_world.world().seed
    gpu = seeds.Group(gpus, image=GPU_OLD, desired=2, kind="eks-managed", ami_type="AL2023_x86_64_NVIDIA")
    parameters = (
        seeds.Parameter(f"{GPU}/recommended/image_id", GPU_NEW),
        seeds.Parameter(f"{GPU}/recommended/release_version", GPU_NEW),
        seeds.Parameter(f"{GPU}/{GPU_OLD}/release_version", GPU_OLD),
    )
    return MemoryWorld.of(
        cluster=name,
        environment=name,
        groups=(eks_world.nodegroup(workers, 2), gpu),
        images=(*base.images, *images),
        parameters=(*base.parameters, *parameters),
        timing=base.timing,
    )


@pytest.mark.parametrize("in_turn", [False, True])
def test_each_kind_of_machines_waits_for_its_own_and_is_never_overtaken_by_the_other(in_turn: bool) -> None:
    """The image for GPUs is the newer one; the base image is all that workers will ever run."""
    land = Land(by_template("staging", "workers", "gpu"), by_template("prod", "workers", "gpu"), in_turn=in_turn)
    prod = land.run("prod")
    waits = why(clearance.look(prod)).split("; ")
    assert len(waits) == 2
    assert "staging group workers: 2 of 2 machines do not run" in waits[0]
    assert "(base-new)" in waits[0]
    assert "staging group gpu: 2 of 2 machines do not run" in waits[1]
    assert "(gpu-new)" in waits[1]

    assert engine.rotate(land.run("staging")).ok
    land.prod.clock.wait(3 * 3600.0)
    assert isinstance(clearance.look(prod), Done)


def test_the_group_of_the_name_that_went_on_supersedes() -> None:
    land = Land(by_template("staging", "workers", "gpu"), by_template("prod", "workers", "gpu"))
    prod = land.run("prod")
    land.staging.add_image(seeds.Image("base-newest", created="2026-11-09T00:00:00Z"))
    land.staging.add_template_version("workers", "base-newest")
    assert engine.rotate(land.run("staging")).ok
    answer = clearance.look(prod)
    assert isinstance(answer, Superseded)
    assert "staging.staging group workers runs" in answer.reason


def test_the_only_group_there_is_waited_for_whatever_newer_image_it_runs() -> None:
    land = Land(by_template("staging", "gpu"), by_template("prod", "workers"))
    assert engine.rotate(land.run("staging")).ok
    assert "staging.staging group gpu: 2 of 2 machines do not run" in why(clearance.look(land.run("prod")))


def test_named_groups_of_another_family_are_waited_for_and_overtake_nobody() -> None:
    promoted = {"promotion": {**AFTER["promotion"], "groups": ["gpu"]}}
    land = Land(by_template("staging", "workers", "gpu"), by_template("prod", "workers"), **promoted)
    assert engine.rotate(land.run("staging")).ok
    assert "staging.staging group gpu: 2 of 2 machines do not run" in why(clearance.look(land.run("prod")))


def test_groups_that_nothing_tells_apart_are_said_to_be_so_with_what_to_do() -> None:
    """A fleet file that says so is refused; of groups that kops' tags name it is known only now."""
    land = Land(by_template("staging", "general", "gpu"), by_template("prod", "workers"))
    answer = clearance.look(land.run("prod"))
    assert isinstance(answer, Blocked)
    assert "staging.staging has general and gpu" in answer.reason
    assert "promotion.groups" in answer.remedy


def test_managed_groups_are_promoted_by_their_ami_types_whatever_they_are_called() -> None:
    land = Land(managed("staging", "one", "two"), managed("prod", "two", "one"))
    prod = land.run("prod")
    waits = why(clearance.look(prod)).split("; ")
    assert len(waits) == 2
    assert "staging.staging group one: 2 of 2 machines do not run" in waits[0]
    assert f"({eks_world.NEW})" in waits[0]
    assert "staging.staging group two: 2 of 2 machines do not run" in waits[1]
    assert f"({GPU_NEW})" in waits[1]

    assert engine.rotate(land.run("staging")).ok
    land.prod.clock.wait(12 * 3600.0)
    assert isinstance(clearance.look(prod), Done)
