"""The image step: the group's template launches the target, or the group is blocked."""

from __future__ import annotations

from node_rotation import lock
from node_rotation.errors import BlockedError
from node_rotation.ledger import Ledger
from node_rotation.model import GroupPlan, ImageStep, TemplateVersion
from node_rotation.outcome import Blocked
from node_rotation.run import Run
from node_rotation.world import ScalingGroup, TemplateSpec

LATEST, DEFAULT = "$Latest", "$Default"


def trouble(run: Run, plan: GroupPlan, group: ScalingGroup) -> Blocked | None:
    """Why the group's template can't be made to launch the target, or None; asked before anything is touched."""
    image = plan.target.image.id
    for spec in group.overrides:
        if spec is not None and run.cloud.template(spec).image_id != image:
            return Blocked(
                f"an override of group {group.name} brings its own template {spec.name or spec.id} with another image",
                (f"asg {group.name}", f"template {spec.name or spec.id} version {spec.version}"),
                f"Point that override at a version that launches {image}, or let it use the group's own template.",
            )
    if _launches(run, group, image):
        return None
    if plan.image_step is ImageStep.EXTERNAL:
        return Blocked(
            f"the template of group {group.name} does not launch {image}, and image_step is external",
            (f"asg {group.name}", f"template {group.template.name}"),
            "Put the image into the template, or set image_step: launch_template for this group.",
        )
    if group.template.launch_configuration:
        return Blocked(
            f"group {group.name} uses launch configuration {group.template.name}, which can't be changed",
            (f"asg {group.name}",),
            "Move the group to a launch template; AWS no longer lets new accounts make launch configurations.",
        )
    return None


def run_image_step(run: Run, plan: GroupPlan, group: ScalingGroup) -> None:
    """Make the group's template launch the target; nothing if it does. What was there before is in the ledger.

    :raises BlockedError: as :func:`trouble` says.
    """
    if blocked := trouble(run, plan, group):
        raise BlockedError(blocked)
    image = plan.target.image.id
    if _launches(run, group, image):
        return
    before = run.cloud.template(group.template).ref
    _remember(run, plan.name, template_before=before.model_copy(update={"version": _said(group.template, before)}))
    lock.require(run)
    made = run.cloud.new_template_version(before, image, f"{run.plan.id[:32]}-{plan.name}"[:64])
    _remember(run, plan.name, template_made=made)
    lock.require(run)
    if group.template.version in (DEFAULT, ""):
        run.cloud.set_default_version(made)
    elif group.template.version != LATEST:
        run.cloud.use_template_version(group.name, made)
    run.look.forget()


def _launches(run: Run, group: ScalingGroup, image: str) -> bool:
    return run.cloud.template(group.template).image_id == image


def _said(spec: TemplateSpec, resolved: TemplateVersion) -> str:
    """The version to go back to: as a number also where the group says $Default."""
    return resolved.version or spec.version


def _remember(run: Run, group_name: str, **templates: TemplateVersion) -> None:
    def change(ledger: Ledger) -> Ledger:
        baseline = ledger.groups[group_name]
        said = {k: v for k, v in templates.items() if getattr(baseline, k) is None}
        return ledger.with_group(group_name, baseline.model_copy(update=said))

    lock.change(run, change)
