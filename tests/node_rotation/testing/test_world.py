"""One scenario file runs in both worlds; a world starts settled and is the same for the same seed."""

from __future__ import annotations

from dataclasses import fields

import pytest
import yaml

from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from proving_ground import scenario

GROUP = "dev-workers"
PAIRS = [
    (seeds.Image, scenario.Image),
    (seeds.Parameter, scenario.Parameter),
    (seeds.Override, scenario.Override),
    (seeds.Group, scenario.NodeGroup),
    (seeds.Workload, scenario.Workload),
    (seeds.DisruptionBudget, scenario.DisruptionBudget),
    (seeds.Fault, scenario.Fault),
    (seeds.Timing, scenario.Timing),
]


def test_a_world_starts_settled_with_an_empty_journal():
    world = MemoryWorld.simple(machines=6)

    assert len(world.on_image("base-old")) == 6
    assert all(node.ready for node in world.cluster.nodes())
    assert {w.key: (w.desired, w.ready) for w in world.cluster.workloads()} == {
        "Deployment default/web": (12, 12),
        "DaemonSet kube-system/agent": (6, 6),
    }
    assert (world.mutations, world.orphans(), world.residue()) == ([], (), ())


def test_its_template_already_says_the_next_image():
    world = MemoryWorld.simple()

    template = world.cloud.template(world.cloud.groups([GROUP])[GROUP].template)

    assert template.image_id == world.image_id("base-new")


def test_the_same_seed_tells_the_same_story():
    def story(seed):
        world = MemoryWorld.simple(boot=100.0, boot_jitter=0.2, seed=seed)
        world.cloud.detach(GROUP, world.on_image("base-old")[:2])
        world.clock.run_until(lambda: len(world.cluster.nodes()) == 8, 300)
        return world.clock.now(), world.cluster.nodes()

    assert story(3) == story(3)
    assert story(3)[0] != story(4)[0]


@pytest.mark.parametrize("name", sorted(path.stem for path in scenario.SCENARIOS.glob("*.yaml")))
def test_every_scenario_of_the_proving_ground_runs_here_too(name):
    raw = yaml.safe_load((scenario.SCENARIOS / f"{name}.yaml").read_text())
    for cluster in scenario.load(name).clusters:
        from_yaml = MemoryWorld.from_scenario(raw, cluster.name)
        from_model = MemoryWorld.from_scenario(scenario.load(name), cluster.name)

        assert from_yaml.cluster.nodes() == from_model.cluster.nodes()
        assert from_yaml.cluster.budgets() == from_model.cluster.budgets()
        assert len(from_yaml.cluster.nodes()) == sum(group.desired for group in cluster.groups)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_no_field_of_a_scenario_is_unknown_here(ours, theirs):
    assert set(theirs.model_fields) <= {field.name for field in fields(ours)}


def test_times_are_the_proving_ground_s_unless_a_scenario_says_otherwise():
    theirs = scenario.Timing().model_dump()

    assert {name: getattr(seeds.Timing(), name) for name in theirs} == theirs


def test_a_misspelt_field_is_refused():
    with pytest.raises(ValueError, match="Group 'workers': unknown desird"):
        seeds.from_scenario(
            {
                "name": "x",
                "images": [{"name": "a"}],
                "clusters": [{"name": "c", "environment": "e", "groups": [{"name": "workers", "desird": 1}]}],
            }
        )


def test_a_world_that_can_not_come_up_says_so():
    with pytest.raises(ValueError, match="does not settle"):
        MemoryWorld.of(
            groups=(seeds.Group("workers", image="bad", desired=1),),
            images=(seeds.Image("bad", behaviour="never-joins"),),
        )


def test_settings_carry_the_policy_of_a_fleet_file():
    settings = MemoryWorld.simple().settings(strategy="detach", budget={"max_surge": 2})

    assert settings.name == "dev.dev"
    assert settings.groups["workers"].budget.max_surge == 2
    assert settings.cluster.groups[0].asg == GROUP
