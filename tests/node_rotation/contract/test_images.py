"""Images, parameters and templates, as both worlds show and change them."""

from __future__ import annotations

import pytest
from tests.node_rotation.contract.conftest import VERSIONED

from node_rotation.errors import BlockedError, GoneError
from node_rotation.model import TemplateVersion
from node_rotation.world.aws import TemplateSpec

CURRENT = "/images/base/current"


def image_named(world, name: str, architecture: str = "x86_64"):
    (image,) = world.cloud.images("self", name, architecture)
    return image


def test_images_are_found_by_name_newest_first_deprecated_ones_included(world):
    found = world.cloud.images("self", "base-*", "x86_64")

    assert [image.name for image in found] == ["base-2", "base-1", "base-0"]
    assert [image.deprecated is not None for image in found] == [False, False, True]
    assert found[0].created.isoformat() == "2026-11-08T06:00:00+00:00"


def test_images_of_another_architecture_or_owner_are_left_out(world):
    assert [i.name for i in world.cloud.images("self", "*-1", "arm64")] == ["arm-1"]
    assert world.cloud.images("amazon", "base-*", "x86_64") == ()


def test_an_image_by_its_id(world):
    known = image_named(world, "base-1")

    assert world.cloud.image(known.id) == known
    assert world.cloud.image("ami-0123456789abcdef0") is None


def test_a_parameter_names_the_current_image(world):
    parameter = world.cloud.parameter(CURRENT)

    assert parameter.value == image_named(world, "base-2").id
    assert parameter.name == CURRENT
    assert parameter.modified_at > 0


def test_a_parameter_nobody_wrote_is_gone(world):
    with pytest.raises(GoneError, match="/images/nobody"):
        world.cloud.parameter("/images/nobody")


def test_parameters_below_a_path_are_what_was_written_last(world):
    assert world.cloud.parameters("/node-rotation/contract") == ()

    world.cloud.put_parameter("/node-rotation/contract/a", "first")
    world.cloud.put_parameter("/node-rotation/contract/a", "second")
    world.cloud.put_parameter("/node-rotation/contract/b/deeper", "not directly below")

    (found,) = world.cloud.parameters("/node-rotation/contract")
    assert (found.name, found.value) == ("/node-rotation/contract/a", "second")
    assert found.modified_at > 0


def test_latest_and_default_are_resolved(world):
    spec = world.group(VERSIONED).template
    first = world.cloud.template(TemplateSpec(spec.name, spec.id, "1"))
    made = world.cloud.new_template_version(first.ref, image_named(world, "base-2").id, "resolve-1")
    world.cloud.set_default_version(first.ref)

    latest = world.cloud.template(TemplateSpec(spec.name, spec.id, "$Latest"))
    default = world.cloud.template(TemplateSpec(spec.name, spec.id, "$Default"))

    assert latest.ref == made
    assert latest.image_id == image_named(world, "base-2").id
    assert (default.ref.version, default.image_id) == ("1", image_named(world, "base-1").id)
    assert (latest.instance_type, latest.architecture) == ("m6i.large", "x86_64")


def test_the_same_token_makes_a_version_once(world):
    spec = world.group(VERSIONED).template
    source = world.cloud.template(spec).ref
    image = image_named(world, "base-2").id

    made = world.cloud.new_template_version(source, image, "once-1")
    again = world.cloud.new_template_version(source, image, "once-1")
    other = world.cloud.new_template_version(source, image, "once-2")

    assert made == again
    assert int(other.version) == int(made.version) + 1
    assert world.cloud.template(TemplateSpec(made.name, made.id, made.version)).image_id == image


def test_a_new_default_is_what_default_resolves_to(world):
    spec = world.group(VERSIONED).template
    made = world.cloud.new_template_version(
        world.cloud.template(spec).ref, image_named(world, "base-2").id, "default-1"
    )

    world.cloud.set_default_version(made)

    assert world.cloud.template(TemplateSpec(spec.name, spec.id, "$Default")).ref == made


def test_a_group_launches_from_the_version_it_is_pointed_at(world):
    spec = world.group(VERSIONED).template
    source = world.cloud.template(TemplateSpec(spec.name, spec.id, "1")).ref
    image = image_named(world, "base-2").id
    made = world.cloud.new_template_version(source, image, "pointed-1")
    before = world.members(VERSIONED)

    world.cloud.use_template_version(VERSIONED, made)
    world.cloud.terminate_in_group(before[0], decrement=False)

    assert world.group(VERSIONED).template == TemplateSpec(made.name, made.id, made.version)
    (new,) = world.eventually(lambda: set(world.members(VERSIONED)) - set(before))
    assert world.cloud.instances([new])[new].image_id == image
    assert world.group(VERSIONED).member(new).template == made


def test_a_mixed_group_keeps_its_overrides(world):
    before = world.group("dev-mixed")
    made = world.cloud.new_template_version(
        world.cloud.template(before.template).ref, image_named(world, "base-2").id, "mixed-1"
    )

    world.cloud.use_template_version("dev-mixed", made)

    after = world.group("dev-mixed")
    assert after.template.version == made.version
    assert after.instance_types == before.instance_types == ("m6i.large", "m5.large")
    assert after.overrides == before.overrides == (None, None)


def test_an_alias_of_a_parameter_is_resolved(world):
    assert world.cloud.template(world.group("dev-aliased").template).image_id == image_named(world, "base-2").id


def test_a_launch_configuration_is_read_but_never_changed(world):
    spec = world.group("dev-configured").template
    assert spec.launch_configuration

    found = world.cloud.template(spec)

    assert found.image_id == image_named(world, "base-1").id
    assert found.ref == TemplateVersion(name=spec.name)
    with pytest.raises(BlockedError, match="launch configuration"):
        world.cloud.new_template_version(found.ref, image_named(world, "base-2").id, "never")


def test_a_template_or_version_nobody_made_is_gone(world):
    spec = world.group().template

    for missing in (
        TemplateSpec("nobody", "", "$Latest"),
        TemplateSpec(spec.name, spec.id, "999"),
        TemplateSpec("nobody", launch_configuration=True),
    ):
        with pytest.raises(GoneError):
            world.cloud.template(missing)
