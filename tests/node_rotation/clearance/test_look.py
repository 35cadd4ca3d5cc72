"""Runs that wait for the environment before, over two worlds in memory; what waits has touched nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.node_rotation import eks_world
from tests.node_rotation.crashes import FAST, after, plan_for, run_for
from tests.node_rotation.masters import kops, probed

from node_rotation import detect, engine, lock
from node_rotation.clearance import look as clearance
from node_rotation.clearance.answers import Answers
from node_rotation.clearance.freezes import Freezes
from node_rotation.clearance.look import Superseded
from node_rotation.errors import TransientError
from node_rotation.fleet import Fleet, Settings
from node_rotation.kops.discovery import discover
from node_rotation.model import DriftReason, StepName
from node_rotation.outcome import Blocked, Done, Waiting
from node_rotation.planning import make_plan
from node_rotation.run import Run
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.aws import ScalingGroup

NAMED = {"owner": "self", "name": "base-*"}


class Land:
    """Environments, each a world of its own.

    :param kops: those whose groups are found by kops' tags.
    :param images: where those take their images from that have a source of their own.
    """

    def __init__(
        self,
        names: tuple[str, ...] = ("dev", "prod"),
        *,
        kops: tuple[str, ...] = (),
        images: Mapping[str, Any] | None = None,
        **promotion: Any,
    ) -> None:
        simple = MemoryWorld.simple(2, max_unavailable=4).seed  # both machines may go at once
        self.kops, self.images = kops, images or {}
        self.worlds = {
            f"{name}.{name}": MemoryWorld(
                replace(
                    simple,
                    cluster=name,
                    environment=name,
                    groups=tuple(replace(g, tags=kops_tags(name, g.name)) for g in simple.groups),
                )
            )
            for name in names
        }
        self.dev, self.prod = self.worlds["dev.dev"], self.worlds["prod.prod"]
        said = {"promotion": {"after": "previous", "soak": "1h", **promotion}, "image": NAMED, **FAST}
        self.fleet = Fleet.model_validate({"defaults": said, "environments": [self._environment(n) for n in names]})

    def _environment(self, name: str) -> dict[str, Any]:
        policy = {"image_step": "launch_template", "image": self.images.get(name, {})}
        groups: dict[str, Any] = {"groups": [{"name": "workers", "asg": f"{name}-workers", "policy": policy}]}
        if name in self.kops:
            groups = {"kops": {"cluster": name}, "policy": policy}
        return {"name": name, "clusters": [{"name": name, "aws": {"region": "eu-central-1"}, **groups}]}

    def connect(self, settings: Settings) -> Any:
        world = self.worlds[settings.name]
        return world.cloud, world.cluster

    def run(self, name: str, answers: Answers | None = None, **policy: Any) -> Run:
        world = self.worlds[f"{name}.{name}"]
        settings = discover(self.fleet.settings(name, policy), world.cloud)
        reached = (world.cloud, world.cluster, world.clock)
        snapshot = detect.observe(settings, *reached)
        frozen = Freezes(settings, world.cloud, world.clock)()
        drift = detect.detect(settings, "workers", *reached, snapshot=snapshot, frozen=frozen)
        plan = make_plan(settings, [drift], snapshot, world.clock.now())
        return detect.make_run(f"run-{name}", plan, settings, *reached, others=self.connect, answers=answers)

    def publish(self, name: str) -> None:
        for world in self.worlds.values():
            world.add_image(seeds.Image(name, created="2026-11-09T01:00:00.000Z"))


def kops_tags(cluster: str, group: str) -> dict[str, str]:
    return {"KubernetesCluster": cluster, "kops.k8s.io/instancegroup": group, "k8s.io/role/node": "1"}


def why(answer: object) -> str:
    assert isinstance(answer, Waiting)
    return "; ".join(answer.reasons)


def test_the_first_environment_waits_for_nobody() -> None:
    assert isinstance(clearance.look(Land().run("dev")), Done)


def test_the_next_waits_until_the_one_before_runs_the_image_and_has_soaked_it() -> None:
    land = Land()
    prod = land.run("prod")
    assert "dev.dev group workers: 2 of 2 machines do not run" in why(clearance.look(prod))

    assert engine.rotate(land.run("dev")).ok
    assert "soaks until 2026-11-09 03:0" in why(clearance.look(prod))

    land.prod.clock.wait(4000.0)
    assert isinstance(clearance.look(prod), Done)
    assert land.prod.mutations == []


def test_a_run_that_has_begun_goes_on_but_a_new_plan_of_it_is_asked_like_any_other() -> None:
    """It was held, and cleared as a whole once a newer image was out: dev has not proven that one."""
    land = Land()
    begun = land.run("prod")
    lock.acquire(begun)
    assert isinstance(clearance.look(begun), Done)

    land.publish("base-3")

    assert "dev.dev group workers: 2 of 2 machines do not run" in why(clearance.look(land.run("prod")))


def test_a_group_that_is_deleted_while_its_run_waits_is_named() -> None:
    land = Land()
    prod = land.run("prod")
    del land.prod.scaling.groups["prod-workers"]

    blocked = clearance.look(prod)

    assert isinstance(blocked, Blocked)
    assert "there is no Auto Scaling group 'prod-workers'" in blocked.reason


def test_a_reason_lets_one_run_go_ahead_and_stands_in_its_plan() -> None:
    land = Land()
    prod = land.run("prod", skip_promotion="CVE-2026-1")
    said = "neither the environments before nor the clusters ahead count for this run: CVE-2026-1"
    assert said in prod.plan.notes
    assert isinstance(clearance.look(prod), Done)


@pytest.mark.parametrize("kops", [("dev",), ("prod",), ("dev", "prod")])
@pytest.mark.parametrize("named", [{}, {"groups": ["workers"]}])
def test_groups_that_kops_names_are_promoted_as_listed_ones_are(kops: tuple[str, ...], named: dict[str, Any]) -> None:
    land = Land(kops=kops, **named)
    prod = land.run("prod")
    assert "dev.dev group workers: 2 of 2 machines do not run" in why(clearance.look(prod))

    assert engine.rotate(land.run("dev")).ok
    assert "soaks until 2026-11-09 03:0" in why(clearance.look(prod))

    land.prod.clock.wait(4000.0)
    assert isinstance(clearance.look(prod), Done)


def test_kops_groups_that_cannot_be_found_hold_even_if_none_would_be_allowed() -> None:
    land = Land(kops=("dev",), empty="allow")
    prod = land.run("prod")
    land.dev.journal.faults = [seeds.Fault(kind="throttle", service="autoscaling")]

    assert why(clearance.look(prod)).startswith("dev.dev can't be asked: ")


def test_a_rotation_waits_by_itself_says_for_what_and_then_goes_on() -> None:
    land, said = Land(), []
    assert engine.rotate(land.run("dev")).ok

    result = engine.rotate(land.run("prod"), said.append)

    assert result.ok
    assert after(land.prod).old == 0
    assert land.prod.mutations[0].at > land.dev.clock.now() + 3000
    notes = [event.text for event in said if isinstance(event, engine.Note)]
    assert "soaks until" in notes[0]


def test_machines_that_were_detached_but_still_run_are_not_on_the_image_yet() -> None:
    land = Land(soak="0s")
    prod, reasons = land.run("prod"), []

    def ask(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step is StepName.DRAIN:
            reasons.append(why(clearance.look(prod)))

    assert engine.rotate(land.run("dev", strategy="detach", canary=False, budget={"max_surge": 2}), ask).ok

    assert len(reasons) == 2
    assert "2 of 4 machines do not run" in reasons[-1]
    land.prod.clock.wait(600.0)
    assert isinstance(clearance.look(prod), Done)


class PutAside:
    """A cloud in which one machine has another lifecycle state.

    :param lifecycle: as Auto Scaling names it.
    """

    def __init__(self, cloud: Any, machine: str, lifecycle: str) -> None:
        self._cloud, self._machine, self._lifecycle = cloud, machine, lifecycle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cloud, name)

    def groups(self, names: Sequence[str]) -> Mapping[str, ScalingGroup]:
        return {name: self._aside(group) for name, group in self._cloud.groups(names).items()}

    def _aside(self, group: ScalingGroup) -> ScalingGroup:
        members = (
            replace(m, lifecycle=self._lifecycle if m.instance_id == self._machine else m.lifecycle)
            for m in group.members
        )
        return replace(group, members=tuple(members))


@pytest.mark.parametrize(("lifecycle", "held"), [("InService", True), ("Standby", False), ("Terminating:Wait", False)])
def test_a_machine_that_is_put_aside_or_on_its_way_out_holds_nobody(lifecycle: str, held: bool) -> None:
    """Neither drift nor verify counts it: the environment is well, and nobody would ever rotate it."""
    land = Land()
    prod = land.run("prod")
    assert engine.rotate(land.run("dev")).ok
    land.dev.add_template_version("workers", "base-old")
    land.dev.cloud.set_sizes(land.dev.asg("workers"), desired=3)
    land.dev.clock.wait(60.0)
    (old,) = land.dev.on_image("base-old")
    land.prod.clock.wait(4000.0)

    aside = PutAside(land.dev.cloud, old, lifecycle)
    reached = (prod.cloud, prod.cluster, prod.clock)
    run = detect.make_run("run-1", prod.plan, prod.settings, *reached, others=lambda _: (aside, land.dev.cluster))
    answer = clearance.look(run)
    if held:
        assert "1 of 3 machines do not run" in why(answer)
    else:
        assert isinstance(answer, Done)


def test_runs_of_one_process_that_wait_for_a_cluster_share_one_look_at_it_for_a_while() -> None:
    land, answers = Land(), Answers()
    waiting = [land.run("prod", answers) for _ in range(3)]
    asked = land.dev.journal.calls["DescribeAutoScalingGroups"]

    said = {why(clearance.look(run)) for run in waiting}
    assert "2 of 2 machines do not run" in said.pop()
    once = land.dev.journal.calls["DescribeAutoScalingGroups"] - asked
    land.prod.clock.wait(clearance.LOOKS_APART * waiting[0].settings.policy.poll)
    clearance.look(waiting[0])

    assert land.dev.journal.calls["DescribeAutoScalingGroups"] - asked == 2 * once
    assert said == set()


def test_an_environment_that_cannot_be_asked_holds() -> None:
    land = Land()
    prod = land.run("prod")
    land.dev.journal.faults = [seeds.Fault(kind="throttle", service="autoscaling")]

    assert why(clearance.look(prod)).startswith("dev.dev can't be asked: ")


def test_a_run_that_knows_no_way_to_the_others_holds_and_says_so() -> None:
    land = Land()
    prod = land.run("prod")
    alone = detect.make_run("run-1", prod.plan, prod.settings, prod.cloud, prod.cluster, prod.clock)

    assert "knows no way to other clusters" in why(clearance.look(alone))


def test_an_api_that_is_away_is_waited_for() -> None:
    land = Land()
    prod = land.run("prod")
    prod.look.forget()
    land.prod.journal.faults = [seeds.Fault(kind="throttle", service="autoscaling")]

    assert isinstance(clearance.look(prod), Waiting)


def test_what_will_never_work_is_blocked() -> None:
    land = Land()
    prod = land.run("prod")
    prod.look.forget()
    land.prod.journal.faults = [seeds.Fault(kind="error", action="DescribeAutoScalingGroups", code="ValidationError")]

    assert isinstance(clearance.look(prod), Blocked)


def test_a_newer_image_supersedes_a_run_that_waits_and_nothing_was_touched() -> None:
    land = Land()
    prod = land.run("prod")
    assert isinstance(clearance.look(prod), Waiting)
    land.publish("base-newest")

    result = engine.rotate(prod)

    assert result.not_begun.startswith("superseded: group workers is to run ")
    assert "(base-newest) by now, newer than" in result.not_begun
    assert (result.ok, land.prod.mutations) == (False, [])  # no batch passed


def test_a_pinned_image_is_not_overtaken() -> None:
    land = Land(after=[])
    prod = land.run("prod", image={"id": land.prod.image_id("base-new")})
    land.publish("base-newest")

    assert isinstance(clearance.look(prod), Done)


def test_a_run_told_to_pin_is_overtaken_neither_by_its_source_nor_by_the_environment_before() -> None:
    land = Land()
    prod = land.run("prod", pin=True)
    assert "it is pinned to its image" in " ".join(prod.plan.notes)
    land.publish("base-newest")
    assert "2 of 2 machines do not run" in why(clearance.look(prod))
    assert engine.rotate(land.run("dev")).ok

    assert "2 of 2 machines do not run" in why(clearance.look(prod))


def test_a_pinned_image_waits_even_for_an_environment_that_went_on() -> None:
    land = Land()
    prod = land.run("prod", image={"id": land.prod.image_id("base-new")})
    land.publish("base-newest")
    assert engine.rotate(land.run("dev")).ok

    said = why(clearance.look(prod))
    assert "2 of 2 machines do not run" in said
    assert said.endswith("; a newer image runs there: a run with skip_promotion=REASON does not wait for it to go back")
    alone = land.run("prod", image={"id": land.prod.image_id("base-new")}, skip_promotion="INC-123")
    assert isinstance(clearance.look(alone), Done)


def test_an_environment_before_that_went_on_supersedes() -> None:
    land = Land()
    prod = land.run("prod", image={**NAMED, "soak": "90m"})  # too young for prod, but not for dev
    land.publish("base-newest")
    assert engine.rotate(land.run("dev")).ok
    answer = clearance.look(prod)
    assert isinstance(answer, Superseded)
    assert "dev.dev group workers runs " in answer.reason


def test_a_family_that_nobody_has_before_holds_unless_allowed() -> None:
    elsewhere = {"dev": {"ssm": "/images/base/current"}}
    held = Land(images=elsewhere)
    assert "no group takes its image from where group workers does" in why(clearance.look(held.run("prod")))
    allowed = Land(images=elsewhere, empty="allow")
    assert isinstance(clearance.look(allowed.run("prod")), Done)


@pytest.mark.parametrize("empty", ["hold", "allow"])
def test_a_named_group_that_no_cluster_before_has_holds_whatever_is_allowed(empty: str) -> None:
    """Which groups kops' tags name is known only now: a name that is misspelt proves nothing."""
    land = Land(kops=("dev",), groups=["worker", "workers"], empty=empty)
    prod = land.run("prod")
    assert engine.rotate(land.run("dev")).ok
    land.prod.clock.wait(7200.0)
    assert why(clearance.look(prod)) == "dev.dev: no group is called worker (promotion.groups)"

    none = Land(kops=("dev",), groups=["worker"], empty=empty)
    assert why(clearance.look(none.run("prod"))) == "dev.dev: no group is called worker (promotion.groups)"


def test_an_environment_before_on_a_frozen_image_overtakes_nobody_and_is_waited_for_with_the_way_out() -> None:
    land = Land()
    land.publish("base-3")
    dev = land.run("dev")
    assert engine.rotate(dev).ok
    bad = dev.plan.group("workers").target.image
    Freezes(land.fleet.settings("prod"), land.prod.cloud, land.prod.clock).freeze(bad, "leaks memory", "a person")

    prod = land.run("prod")
    assert prod.plan.group("workers").target.image.name == "base-new"
    said = why(clearance.look(prod))
    assert "dev.dev group workers: 2 of 2 machines do not run" in said
    assert said.endswith("; a newer image runs there: a run with skip_promotion=REASON does not wait for it to go back")
    assert isinstance(clearance.look(land.run("prod", skip_promotion="base-3 leaks memory")), Done)


def test_each_environment_before_has_to_have_a_group_that_shows_the_image_unless_none_is_needed() -> None:
    """Staging takes its images from elsewhere: what dev has proven is not proven there."""
    elsewhere = {"staging": {"ssm": "/images/base/current"}}
    names = ("dev", "staging", "prod")
    nobody = "staging.staging: no group takes its image from where group workers does (promotion.empty: hold)"
    held = Land(names, images=elsewhere, after=["dev", "staging"])
    assert engine.rotate(held.run("dev", skip_promotion="it is the first")).ok
    prod = held.run("prod")
    held.prod.clock.wait(7200.0)

    assert why(clearance.look(prod)) == nobody
    assert "only once dev.dev has proven the image" in prod.plan.notes
    assert "only once staging.staging has proven the image" not in prod.plan.notes
    assert nobody in prod.plan.notes

    allowed = Land(names, images=elsewhere, after=["dev", "staging"], empty="allow")
    assert engine.rotate(allowed.run("dev", skip_promotion="it is the first")).ok
    allowed.prod.clock.wait(7200.0)
    assert isinstance(clearance.look(allowed.run("prod")), Done)


def test_machines_that_run_the_target_already_are_replaced_whatever_the_environments_before_run() -> None:
    """Prod follows its template, which dev has left behind: another machine on the same image promotes nothing."""
    land = Land(images=dict.fromkeys(("dev", "prod"), {"template": True}))
    assert engine.rotate(land.run("prod", skip_promotion="as the first")).ok
    land.publish("base-3")
    assert engine.rotate(land.run("dev", image=NAMED)).ok
    land.prod.clock.wait(3600.0)

    prod = land.run("prod", drift={"max_age": "1h"})
    assert {m.reasons for b in prod.plan.batches for m in b.machines} == {(DriftReason.AGE,)}
    assert isinstance(clearance.look(prod), Done)
    assert [note for note in prod.plan.notes if "proven" in note] == []

    land.dev.journal.faults = [seeds.Fault(kind="throttle", service="autoscaling")]
    assert isinstance(clearance.look(prod), Done)


def test_one_machine_on_another_image_is_enough_to_be_asked() -> None:
    land = Land()
    prod = land.run("prod", drift={"max_age": "1s"})
    assert {m.reasons for b in prod.plan.batches for m in b.machines} == {(DriftReason.IMAGE, DriftReason.AGE)}
    assert "dev.dev group workers: 2 of 2 machines do not run" in why(clearance.look(prod))


def test_errors_of_the_past_are_not_the_next_looks() -> None:
    land = Land()
    prod = land.run("prod")

    def away(settings: Settings) -> Any:
        raise TransientError("the network is away")

    run = detect.make_run("run-1", prod.plan, prod.settings, prod.cloud, prod.cluster, prod.clock, others=away)
    assert "the network is away" in why(clearance.look(run))


AT_THREE: dict[str, Any] = {"windows": [{"from": "03:00", "to": "06:00"}]}


def suspends_launch(world: MemoryWorld) -> None:
    world.scaling.groups["dev-workers"].suspended["Launch"] = "somebody did"


def resumes_launch(world: MemoryWorld) -> None:
    del world.scaling.groups["dev-workers"].suspended["Launch"]


def allows_no_eviction(world: MemoryWorld) -> None:
    world.disruption.change("default", "web", max_unavailable=0)


def protects_a_machine(world: MemoryWorld) -> None:
    (one, *_) = sorted(world.on_image("base-old"))
    world.ec2.found[one] = replace(world.ec2.found[one], termination_protected=True)


@pytest.mark.parametrize(
    ("comes", "named", "remedy"),
    [
        (suspends_launch, ("Launch of dev-workers is suspended", "asg dev-workers"), "resume with ResumeProcesses"),
        (allows_no_eviction, ("can never allow an eviction", "pdb default/web"), "raise the replicas"),
        (protects_a_machine, ("are protected against termination", "machine i-"), "clear DisableApiTermination"),
    ],
)
def test_what_came_in_its_way_while_it_waited_ends_it_by_name_before_anything_is_touched(
    comes: Callable[[MemoryWorld], None], named: tuple[str, str], remedy: str
) -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world, **AT_THREE)
    world.clock.after(1800.0, lambda: comes(world))

    result = engine.rotate(run)

    assert result.blocked is not None
    assert named[0] in result.blocked.reason
    assert any(named[1] in one for one in result.blocked.objects)
    assert remedy in result.blocked.remedy
    assert (world.mutations, result.verdict) == ([], None)


def test_what_came_and_went_while_it_waited_is_nothing() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world, **AT_THREE)
    world.clock.after(600.0, lambda: suspends_launch(world))
    world.clock.after(1800.0, lambda: resumes_launch(world))

    assert engine.rotate(run).ok


def refreshes(world: MemoryWorld) -> None:
    world.scaling.start_refresh(world.asg("workers"), {"SkipMatching": True, "InstanceWarmup": 20})


def updates(world: MemoryWorld) -> None:
    world.eks.update_version("dev", "workers", release=eks_world.NEW_RELEASE, token="a person")


@pytest.mark.parametrize(
    ("world", "comes", "named"),
    [
        (MemoryWorld.simple(3), refreshes, "is replacing the machines of dev-workers"),
        (eks_world.world(), updates, "of node group dev/workers is in progress"),
    ],
)
def test_what_passes_by_itself_is_waited_for_by_name(
    world: MemoryWorld, comes: Callable[[MemoryWorld], None], named: str
) -> None:
    run = run_for(world, **AT_THREE)
    world.clock.wait(4000.0)
    comes(world)
    assert named in why(clearance.look(run))

    result = engine.rotate(run)
    assert result.ok, result
    assert result.verdict is not None
    assert result.verdict.drift == ()


def test_a_member_of_etcd_that_gives_no_answer_for_a_moment_is_waited_for() -> None:
    world = kops()
    run = run_for(world, **probed(world), **AT_THREE)
    world.clock.wait(4000.0)
    member = "etcd-c2"
    world.etcd.stop(member)
    assert "is not healthy" in why(clearance.look(run))
    world.etcd.start(member)
    world.clock.wait(60.0)
    assert isinstance(clearance.look(run), Done)


def test_what_lasts_ends_it_also_beside_what_passes() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world, **AT_THREE)
    world.clock.wait(4000.0)
    refreshes(world)
    suspends_launch(world)
    answer = clearance.look(run)
    assert isinstance(answer, Blocked)
    assert answer.reason.startswith("Launch of dev-workers is suspended")
    assert "refresh" not in str(answer)


def test_a_plan_that_was_just_made_is_not_asked_twice() -> None:
    """Whatever comes a moment later, the steps meet it, and say so, as they do while the run goes on."""
    world = MemoryWorld.simple(3)
    run = run_for(world)
    suspends_launch(world)

    assert isinstance(clearance.look(run), Done)


def test_what_another_run_does_right_now_is_no_blocker_preparing_meets_its_lock() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world, **AT_THREE)
    world.clock.wait(4000.0)
    lock.acquire(run_for(world, "another"))
    suspends_launch(world)

    assert isinstance(clearance.look(run), Done)


def test_what_stands_in_the_way_of_machines_that_went_meanwhile_is_in_nobodys_way() -> None:
    """A run that is cleared as a whole after its end: nothing is left to do."""
    world = MemoryWorld.simple(3)
    plan, _ = plan_for(world, **AT_THREE)
    assert engine.rotate(run_for(world, "run-1", plan=plan)).ok
    world.clock.wait(4000.0)
    suspends_launch(world)

    assert isinstance(clearance.look(run_for(world, "run-1", plan=plan, **AT_THREE)), Done)
