"""A frozen image is refused everywhere: in target choice, before a run begins, at admission, in every account."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.node_rotation.builders import NEW, NOW_AT, OLD, image
from tests.node_rotation.crashes import FAST, after, rotate, run_for

from node_rotation import detect, engine
from node_rotation.admission import Refuse
from node_rotation.clearance import freeze
from node_rotation.clearance import look as clearance
from node_rotation.clearance.freeze import Frozen
from node_rotation.clearance.freezes import Freezes
from node_rotation.errors import BlockedError, TransientError
from node_rotation.fleet import Account, AwsAccess
from node_rotation.model import Plan, StepName, TemplateVersion
from node_rotation.outcome import Blocked, Done, Waiting
from node_rotation.planning import make_plan
from node_rotation.policy import ImageSource
from node_rotation.report import page, report
from node_rotation.steps import STEPS
from node_rotation.steps.admit import refusal
from node_rotation.steps.heal import heal
from node_rotation.steps.prepare import prepare
from node_rotation.target import Candidates, choose
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.aws import Parameter, Template

NAMED = ImageSource(owner="1", name="base-*")
BAD = Frozen(image=NEW, reason="its nodes never join", by="run-1", at=NOW_AT)


def ask(source: ImageSource, **more: Any) -> Any:
    known = {i.id: i for i in (OLD, NEW)}
    seen = Candidates(**{"images": (NEW, OLD), "running": (OLD.id,), "known": known, **more})
    return choose(source, seen, group="workers", now=NOW_AT.timestamp(), frozen=[BAD])


def test_by_name_the_newest_that_is_not_frozen_is_chosen_and_the_frozen_one_named():
    choice = ask(NAMED)
    assert choice.target.image == OLD
    assert choice.notes == (str(BAD),)


def test_when_all_are_frozen_the_reason_says_why():
    choice = ask(NAMED, images=(NEW,))
    assert choice.target is None
    assert choice.blockers[0].reason == (
        "image ami-new (base-ami-new) is frozen since 2026-11-09 02:00 UTC: its nodes never join"
    )
    assert "node-rotation unfreeze ami-new --reason WHY" in choice.blockers[0].remedy


@pytest.mark.parametrize("source", [ImageSource(id="ami-new"), ImageSource(template=True)])
def test_a_pinned_or_launched_image_is_refused(source):
    template = Template(TemplateVersion(name="base", version="2"), NEW.id)
    assert "is frozen since" in ask(source, template=template).blockers[0].reason


def test_a_template_that_still_launches_it_is_reported():
    template = Template(TemplateVersion(name="base", version="2"), NEW.id)
    assert (
        "a frozen image still launches: ami-new from template base:2 of group workers"
        in ask(NAMED, template=template).notes
    )


def test_copies_elsewhere_are_frozen_with_it():
    copy = image("ami-copy").model_copy(update={"owner": "2", "copied_from": NEW.id})
    assert freeze.of(copy, [BAD]) == BAD
    assert freeze.of(NEW.model_copy(update={"id": "ami-other-region"}), [BAD]) == BAD
    assert freeze.of(OLD, [BAD]) is None
    assert freeze.key(NEW) == freeze.key(NEW.model_copy(update={"id": "ami-other-region"}))


def test_a_lifted_record_freezes_nothing_and_one_that_cannot_be_read_holds():
    lifted = BAD.model_copy(update={"lifted": "the network was at fault"})
    assert freeze.read([Parameter("/p", lifted.model_dump_json(), 0.0)]) == ()
    with pytest.raises(BlockedError, match="can't be read"):
        freeze.read([Parameter("/p", '{"schema_version": 2}', 0.0)])


def bad_world() -> MemoryWorld:
    return MemoryWorld.simple(3, behaviour="never-joins")


def test_a_canary_that_fails_because_of_its_image_freezes_it_for_everybody():
    world = bad_world()
    result = rotate(world)
    world.clock.wait(30.0)

    assert "has not joined the cluster" in result.frozen[0]
    assert after(world).clean
    assert after(world).old == 3
    mutations = len(world.mutations)
    again = plan_with(world)
    assert "is frozen since" in again.blockers[0].reason
    assert len(world.mutations) == mutations


def plan_with(world: MemoryWorld) -> Plan:
    """A plan as CLI and Airflow make it: with what is frozen."""
    settings, reached = world.settings(**FAST), (world.cloud, world.cluster, world.clock)
    snapshot = detect.observe(settings, *reached)
    frozen = Freezes(settings, world.cloud, world.clock)()
    drift = detect.detect(settings, "workers", *reached, snapshot=snapshot, frozen=frozen)
    return make_plan(settings, [drift], snapshot, world.clock.now())


def test_the_report_says_so():
    world = bad_world()
    run = run_for(world)
    value = report(run.plan, engine.rotate(run))
    assert "is frozen since" in value["frozen"][0]
    assert "is frozen since" in page(value)


def test_what_is_not_the_images_fault_freezes_nothing():
    world = MemoryWorld.simple(3, faults=[seeds.Fault(kind="capacity")])
    assert not rotate(world).ok
    assert Freezes(world.settings(), world.cloud, world.clock)() == ()


def test_a_template_that_is_somebody_elses_is_named_by_heal():
    world = bad_world()
    run = run_for(world)
    batch = run.plan.batches[0]
    prepare(run, batch.group)
    STEPS[StepName.ADMIT].act(run, batch)

    said = heal(run, batch, "its image never joins", image_fault=True)

    assert any("is frozen since" in line for line in said)
    assert any(line.startswith("a frozen image still launches: ") for line in said)


def lifts(run: Any) -> str:
    """What is to be typed: without a reason it is refused."""
    return f"node-rotation unfreeze {run.plan.groups[0].target.image.id} --reason WHY"


def test_a_run_that_has_not_begun_is_refused():
    world = MemoryWorld.simple(2)
    run = run_for(world)
    run.freezes.freeze(run.plan.groups[0].target.image, "a CVE in it", "cli me")

    answer = clearance.look(run)
    assert isinstance(answer, Blocked)
    assert "a CVE in it" in answer.reason
    assert lifts(run) in answer.remedy
    assert engine.rotate(run).blocked == answer
    assert {m.action for m in world.mutations} == {"PutParameter"}


def admitted(world: MemoryWorld) -> tuple[Any, Any, Any]:
    run = run_for(world, canary=False, budget={"max_surge": 1})
    first, second, *_ = run.plan.batches
    prepare(run, first.group)
    STEPS[StepName.ADMIT].act(run, first)
    return run, first, second


def test_frozen_midway_no_further_batch_is_admitted_and_those_under_way_go_on():
    run, first, second = admitted(MemoryWorld.simple(3))
    run.freezes.freeze(run.plan.groups[0].target.image, "a CVE in it", "cli me")

    assert isinstance(STEPS[StepName.ADMIT].look(run, first), Done)
    refused = refusal(run, second)
    assert isinstance(refused, Refuse)
    assert (refused.how, "a CVE in it" in refused.reason, lifts(run) in refused.remedy) == ("fail", True, True)


def test_a_store_that_does_not_answer_holds():
    world = MemoryWorld.simple(3)
    run, _, second = admitted(world)
    world.clock.wait(60.0)
    world.journal.faults = [seeds.Fault(kind="throttle", service="ssm")]

    waits = STEPS[StepName.ADMIT].look(run, second)
    assert isinstance(waits, Waiting)
    assert "frozen images can't be read" in waits.reasons[0]


def test_before_a_run_begins_it_holds_as_well():
    world = MemoryWorld.simple(3)
    run = run_for(world)
    world.journal.faults = [seeds.Fault(kind="throttle", service="ssm")]
    assert isinstance(clearance.look(run), Waiting)


def test_a_run_that_has_begun_goes_on_to_its_end_whatever_was_frozen_meanwhile():
    world = MemoryWorld.simple(3)
    run, *_ = admitted(world)
    run.freezes.freeze(run.plan.groups[0].target.image, "a CVE in it", "cli me")

    assert clearance.look(run) == Done("the run has begun already")


class Accounts:
    """A second account, of a world of its own."""

    def __init__(self) -> None:
        seed = MemoryWorld.simple(2).seed
        self.here, self.there = MemoryWorld(seed), MemoryWorld(replace(seed, region="us-east-1"))
        settings = self.here.settings()
        mine = Account(aws=settings.cluster.aws, clusters=(settings.name,))
        other = Account(aws=AwsAccess(region="us-east-1"), clusters=("dev.there",))
        self.settings = settings.model_copy(update={"accounts": (mine, other)})

    def reach(self, access: AwsAccess) -> Any:
        return self.there.cloud


def test_every_account_and_region_counts():
    accounts = Accounts()
    elsewhere = Freezes(accounts.there.settings(), accounts.there.cloud, accounts.there.clock)
    elsewhere.freeze(NEW, "bad over there", "run-9")
    here = Freezes(accounts.settings, accounts.here.cloud, accounts.here.clock, accounts.reach)

    record = here.of(NEW)
    assert record is not None
    assert record.reason == "bad over there"
    assert [r.reason for r in here.unfreeze(NEW, "fixed")] == ["bad over there"]
    assert here.of(NEW) is None
    assert [p.name for p in accounts.there.cloud.parameters(freeze.PATH)] == [freeze.key(NEW)]  # it stays on record


def test_an_account_that_is_away_or_that_nobody_knows_a_way_to_holds():
    accounts = Accounts()
    accounts.there.journal.faults = [seeds.Fault(kind="throttle", service="ssm")]
    place = r"account us-east-1 \(connection aws_default, profile of the shell\) of dev\.there"
    with pytest.raises(TransientError, match=place):
        Freezes(accounts.settings, accounts.here.cloud, accounts.here.clock, accounts.reach)()
    with pytest.raises(BlockedError, match=place):
        Freezes(accounts.settings, accounts.here.cloud, accounts.here.clock)()


def test_what_was_read_is_believed_for_half_a_minute():
    world = MemoryWorld.simple(1)
    freezes = Freezes(world.settings(), world.cloud, world.clock)
    assert freezes() == ()
    Freezes(world.settings(), world.cloud, world.clock).freeze(NEW, "bad", "somebody")
    assert freezes() == ()
    world.clock.wait(31.0)
    assert len(freezes()) == 1


def test_a_freeze_that_is_refused_does_not_keep_the_batch_from_being_healed():
    world = bad_world()
    world.journal.faults = [
        seeds.Fault(kind="error", action="PutParameter", code="AccessDenied", message="not allowed: ssm:PutParameter")
    ]
    result = rotate(world)
    world.clock.wait(30.0)
    assert result.frozen == ()
    assert after(world).clean
