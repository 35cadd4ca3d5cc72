"""Which image a group should run, and which images are refused by name."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.node_rotation.builders import DAY_S, NEW, NEW_TEMPLATE, NOW, NOW_AT, OLD, OLD_TEMPLATE, image

from node_rotation.policy import ImageSource
from node_rotation.target import Candidates, Choice, choose
from node_rotation.world.aws import Parameter, Template

SSM = ImageSource(ssm="/images/base/current")
FILTER = ImageSource(owner="self", name="base-*")


def ask(source: ImageSource, candidates: Candidates, as_of: float | None = None) -> Choice:
    return choose(source, candidates, group="workers", now=NOW, as_of=as_of)


def seen(*images, **more) -> Candidates:
    known = {i.id: i for i in (OLD, NEW, *images)}
    return Candidates(images=tuple(images), **{"running": (OLD.id,) * 3, "known": known, **more})


def parameter(value: str, days_old: float = 1.0) -> Parameter:
    return Parameter("/images/base/current", value, NOW - days_old * DAY_S)


def refusal(choice: Choice) -> str:
    assert choice.target is None
    (blocker,) = choice.blockers
    assert blocker.objects
    assert blocker.remedy
    return blocker.reason


def test_a_template_says_which_image_it_launches_and_no_image_step_is_needed():
    choice = ask(ImageSource(template=True), seen(NEW, template=Template(NEW_TEMPLATE, NEW.id)))
    assert choice.target is not None
    assert (choice.target.image, choice.target.template) == (NEW, NEW_TEMPLATE)
    assert choice.target.source == "template base:2"


def test_a_parameters_image_that_the_template_does_not_launch_yet_needs_the_image_step():
    template = Template(OLD_TEMPLATE, OLD.id)
    choice = ask(SSM, seen(NEW, parameter=parameter(NEW.id), template=template))
    assert choice.target is not None
    assert (choice.target.image, choice.target.template) == (NEW, None)
    assert choice.templates == (OLD_TEMPLATE,)


def test_a_name_filter_takes_the_newest_that_is_neither_deprecated_nor_still_soaking():
    ripe, soaking = image("ami-ripe", 5), image("ami-soaking", 1)
    withdrawn = image("ami-withdrawn", 4, deprecated=NOW_AT - timedelta(days=1))
    foreign = image("ami-arm", 3, architecture="arm64")
    source = FILTER.model_copy(update={"soak": 2 * DAY_S})
    choice = ask(source, seen(soaking, withdrawn, foreign, ripe, OLD))
    assert choice.target is not None
    assert choice.target.image == ripe


@pytest.mark.parametrize(
    ("source", "candidates", "reason"),
    [
        (ImageSource(template=True), seen(), "the template of group workers can't be resolved"),
        (ImageSource(id="ami-none"), seen(), "image ami-none (pinned) does not exist"),
        (SSM, seen(), "there is no SSM parameter /images/base/current"),
        (SSM, seen(parameter=parameter("ami-gone")), "image ami-gone (ssm /images/base/current) does not exist"),
        (FILTER, seen(), "no image matches owner self, name base-*, x86_64"),
    ],
)
def test_a_missing_image_is_refused_by_name(source, candidates, reason):
    assert refusal(ask(source, candidates)).startswith(reason)


def test_an_image_that_still_soaks_says_until_when():
    source = SSM.model_copy(update={"soak": 3 * DAY_S})
    choice = ask(source, seen(NEW, parameter=parameter(NEW.id)))
    assert "soaks until 2026-11-11T02:00Z" in refusal(choice)
    only_young = ask(FILTER.model_copy(update={"soak": 3 * DAY_S}), seen(NEW))
    assert "soaks until 2026-11-11T02:00Z" in refusal(only_young)


def test_a_deprecated_image_is_refused_unless_it_is_pinned():
    withdrawn = image("ami-withdrawn", 2, deprecated=NOW_AT - timedelta(hours=1))
    assert "is deprecated since" in refusal(ask(SSM, seen(withdrawn, parameter=parameter(withdrawn.id))))
    assert "is deprecated" in refusal(ask(FILTER, seen(withdrawn)))
    pinned = ask(ImageSource(id=withdrawn.id), seen(withdrawn))
    assert pinned.target is not None


def test_an_image_for_another_architecture_is_refused():
    arm = image("ami-arm", 1, architecture="arm64")
    choice = ask(SSM, seen(arm, parameter=parameter(arm.id)))
    assert "is for arm64, the machines of group workers are x86_64" in refusal(choice)
    assert "leave the group out: --group" in choice.blockers[0].remedy


def test_the_templates_architecture_counts_where_nothing_runs():
    arm = image("ami-arm", 1, architecture="arm64")
    candidates = seen(arm, parameter=parameter(arm.id), running=(), template=Template(OLD_TEMPLATE, "x", "", "arm64"))
    assert ask(SSM, candidates).target is not None


def test_never_backwards_unless_pinned():
    ahead = seen(OLD, parameter=parameter(OLD.id), running=(NEW.id, NEW.id, OLD.id))
    assert "is older than ami-new" in refusal(ask(SSM, ahead))
    assert ask(ImageSource(id=OLD.id), ahead).target is not None


def test_one_machine_that_is_ahead_does_not_stop_the_others():
    choice = ask(SSM, seen(image("ami-mid", 5), parameter=parameter("ami-mid"), running=(OLD.id, OLD.id, NEW.id)))
    assert choice.target is not None


def test_a_past_night_is_answered_from_creation_dates():
    mid = image("ami-mid", 5)
    choice = ask(FILTER, seen(NEW, mid, OLD), as_of=NOW - 3 * DAY_S)
    assert choice.target is not None
    assert choice.target.image == mid


def test_an_image_deprecated_since_was_fine_on_that_night():
    mid = image("ami-mid", 5, deprecated=NOW_AT - timedelta(days=1))
    choice = ask(FILTER, seen(mid, OLD), as_of=NOW - 3 * DAY_S)
    assert choice.target is not None
    assert choice.target.image == mid


def test_a_parameter_keeps_no_history_so_an_earlier_night_cannot_be_answered():
    candidates = seen(NEW, parameter=parameter(NEW.id, days_old=1))
    assert "cannot be answered from ssm /images/base/current" in refusal(ask(SSM, candidates, as_of=NOW - 3 * DAY_S))
    assert ask(SSM, candidates, as_of=NOW - DAY_S / 2).target is not None


def test_owner_and_name_beside_the_parameter_answer_for_earlier_nights():
    source = ImageSource(ssm="/images/base/current", owner="self", name="base-*")
    candidates = seen(NEW, OLD, parameter=parameter(NEW.id))
    now, then = ask(source, candidates), ask(source, candidates, as_of=NOW - 3 * DAY_S)
    assert now.target is not None
    assert then.target is not None
    assert (now.target.image, then.target.image) == (NEW, OLD)


def test_a_past_night_behind_what_runs_by_now_is_answered_and_said_to_be_behind():
    choice = ask(FILTER, seen(NEW, OLD, running=(NEW.id,)), as_of=NOW - 3 * DAY_S)
    assert choice.target is not None
    assert "runs ami-new" in choice.notes[0]


def test_a_template_whose_image_is_younger_than_the_night_cannot_answer_for_it():
    candidates = seen(NEW, template=Template(NEW_TEMPLATE, NEW.id))
    assert "cannot be answered from template base:2" in refusal(
        ask(ImageSource(template=True), candidates, as_of=NOW - 3 * DAY_S)
    )


def test_an_override_that_launches_another_image_from_its_own_template_is_named():
    candidates = seen(NEW, template=Template(NEW_TEMPLATE, NEW.id), overrides=(Template(OLD_TEMPLATE, OLD.id),))
    choice = ask(ImageSource(template=True), candidates)
    assert choice.target is not None
    assert "an override of group workers launches ami-old from its own template base:1" in choice.blockers[0].reason
    assert choice.templates == (NEW_TEMPLATE, OLD_TEMPLATE)
