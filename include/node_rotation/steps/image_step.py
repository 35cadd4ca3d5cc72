"""The image step: the group's template launches the target, or the group is blocked."""

from __future__ import annotations

from collections.abc import Sequence

from node_rotation import lock
from node_rotation.errors import BlockedError, GoneError
from node_rotation.ledger import Claim, Ledger
from node_rotation.model import GroupPlan, ImageStep, TemplateVersion
from node_rotation.outcome import Blocked, Done, Outcome
from node_rotation.run import Run
from node_rotation.steps.image_run import RUN_BY_OTHERS, advance, check
from node_rotation.steps.scene import fresh_group
from node_rotation.world.aws import ScalingGroup, TemplateSpec

LATEST, DEFAULT = "$Latest", "$Default"


def trouble(run: Run, plan: GroupPlan, group: ScalingGroup) -> Blocked | None:
    """Why the group's template can't be made to launch the target, or None; asked before anything is touched."""
    try:
        return _trouble(run, plan, group)
    except GoneError as error:
        return Blocked(str(error), (f"asg {group.name}",), "Have the group, and its overrides, use one that exists.")


def _trouble(run: Run, plan: GroupPlan, group: ScalingGroup) -> Blocked | None:
    image = plan.target.image.id
    if plan.image_step in RUN_BY_OTHERS:
        return check(run, plan) if not _launches_everywhere(run, group, image) else None
    for spec in group.overrides:
        if spec is not None and run.cloud.template(spec).image_id != image:
            return Blocked(
                f"an override of group {group.name} brings its own template {spec.name or spec.id} with another image",
                (f"asg {group.name}", f"template {spec.name or spec.id} version {spec.version}"),
                f"Point that override at a version that launches {image}, or let it use the group's own template.",
            )
    for name, other in group.override_images.items():
        if other != image:
            return Blocked(
                f"override {name} of group {group.name} names {other} as its ImageId, whatever its template says",
                (f"asg {group.name}", f"image {other}"),
                f"Take ImageId out of that override, then it launches the group's template, or have it name {image}.",
            )
    if _launches(run, group, image):
        return None
    if plan.image_step is ImageStep.EXTERNAL:
        return Blocked(
            f"the template of group {group.name} does not launch {image}, and image_step is external",
            (f"asg {group.name}", f"template {group.template.name}"),
            "Put the image into the template, or set image_step: launch_template for this group in the fleet file.",
        )
    if group.template.launch_configuration:
        return Blocked(
            f"group {group.name} uses launch configuration {group.template.name}, which can't be changed",
            (f"asg {group.name}",),
            "Move the group to a launch template; AWS no longer lets new accounts make launch configurations.",
        )
    return None


def run_image_step(run: Run, plan: GroupPlan, group: ScalingGroup) -> Outcome:
    """Make the group's template launch the target; nothing if it does. What was there before is in the ledger.

    :returns: Done; Waiting, or Blocked, as a command or a pod does it.
    :raises BlockedError: as :func:`trouble` says.
    """
    image = plan.target.image.id
    if plan.image_step in RUN_BY_OTHERS:
        return advance(run, plan, lambda: _launches_everywhere(run, fresh_group(run, plan.asg), image))
    if blocked := trouble(run, plan, group):
        raise BlockedError(blocked)
    begun = _begun(lock.require(run).ledger, plan.name)
    if begun is None and _launches(run, group, image):
        return Done()
    before = begun or run.cloud.template(group.template).ref
    _remember(run, plan.name, template_before=before.model_copy(update={"version": _said(group.template, before)}))
    lock.require(run)
    made = run.cloud.new_template_version(before, image, f"{run.plan.id[:32]}-{before.version}-{plan.name}"[:64])
    _remember(run, plan.name, template_made=made)
    _point(run, group, made)
    return Done()


def put_back(run: Run, group_name: str) -> tuple[str, ...]:
    """After an image was at fault: have the group launch what it launched before the image step.

    Nothing if the image step was somebody else's, or a machine of the group has passed on the new image. ``$Latest``
    can only go forward: it gets one more version, a copy of the former one.

    :returns: one line if anything was done, or was somebody else's to do.
    """
    ledger = lock.require(run).ledger
    baseline, claims = ledger.groups[group_name], ledger.claims_of(group_name)
    before, made = baseline.template_before, baseline.template_made
    if before is None or made is None or not at_fault(claims):
        return ()
    group = fresh_group(run, baseline.asg)
    image, now = _image_of(run, before), run.cloud.template(group.template)
    back = before
    if now.image_id == image:
        back = now.ref  # done already, but the answer was lost
    elif now.ref.version != made.version:
        return (f"group {group.name} launches version {now.ref.version} of {now.ref.name} by now: left as it is",)
    elif group.template.version == LATEST:
        back = run.cloud.new_template_version(
            before, image, f"{ledger.plan[:32]}-{made.version}-back-{group_name}"[:64]
        )
    else:
        _point(run, group, before)
    lock.change(run, lambda ledger: _forgotten(ledger, group_name, back))
    return (back_text(group.name, back),)


def at_fault(claims: Sequence[Claim]) -> bool:
    """Whether a group's image is at fault: a batch failed because of it, and no new machine has passed on it."""
    return any(c.image_fault for c in claims) and not any(c.proves for c in claims)


def back_text(asg: str, back: TemplateVersion) -> str:
    """What :func:`put_back` did, for logs and the report."""
    return f"group {asg} launches its former image again (version {back.version} of template {back.name})"


def _point(run: Run, group: ScalingGroup, version: TemplateVersion) -> None:
    """Make a group launch a version; for ``$Latest`` its being there is enough."""
    lock.require(run)
    if group.template.version in (DEFAULT, ""):
        run.cloud.set_default_version(version)
    elif group.template.version != LATEST:
        run.cloud.use_template_version(group.name, version)
    run.look.forget()


def _image_of(run: Run, version: TemplateVersion) -> str:
    return run.cloud.template(TemplateSpec(version.name, version.id, version.version)).image_id


def _forgotten(ledger: Ledger, group_name: str, back: TemplateVersion) -> Ledger:
    said = {"template_before": None, "template_made": None, "template_back": back}
    return ledger.with_group(group_name, ledger.groups[group_name].model_copy(update=said))


def _begun(ledger: Ledger, group_name: str) -> TemplateVersion | None:
    """The version to start from, if this run was about to make another and does not know whether it has.

    ``$Latest`` launches it then already: asked for again, AWS' answer says which one is ours to take back.
    """
    baseline = ledger.groups[group_name]
    return baseline.template_before if baseline.template_made is None else None


def _launches_everywhere(run: Run, group: ScalingGroup, image: str) -> bool:
    """Overrides included: whoever owns the template owns theirs."""
    own = (spec for spec in group.overrides if spec is not None)
    if any(other != image for other in group.override_images.values()):
        return False
    return all(run.cloud.template(spec).image_id == image for spec in (group.template, *own))


def _launches(run: Run, group: ScalingGroup, image: str) -> bool:
    return run.cloud.template(group.template).image_id == image


def _said(spec: TemplateSpec, resolved: TemplateVersion) -> str:
    """The version to go back to: as a number also where the group says $Default."""
    return resolved.version or spec.version


def _remember(run: Run, group_name: str, **templates: TemplateVersion) -> None:
    def change(ledger: Ledger) -> Ledger:
        baseline = ledger.groups[group_name]
        said: dict[str, TemplateVersion | None] = {k: v for k, v in templates.items() if getattr(baseline, k) is None}
        if said:
            said["template_back"] = None
        return ledger.with_group(group_name, baseline.model_copy(update=said))

    lock.change(run, change)
