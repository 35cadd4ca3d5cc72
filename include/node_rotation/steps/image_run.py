"""The image step of a template that another tool owns: its command, or a pod, once per run and group.

Begun only after it is written down; whether it did its work is read from the template afterwards, never believed.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from node_rotation import lock
from node_rotation.configuration.image_policy import ImagePod
from node_rotation.errors import BlockedError
from node_rotation.kops.tags import CLUSTER_TAG
from node_rotation.ledger import ImageRun, Ledger
from node_rotation.model import GroupPlan, ImageStep
from node_rotation.outcome import Blocked, Done, Outcome, Waiting
from node_rotation.policy import Policy
from node_rotation.run import Run
from node_rotation.steps.scene import span

log = logging.getLogger(__name__)
RUN_BY_OTHERS = (ImageStep.COMMAND, ImageStep.POD)
POLL_S = 2.0
HEARD_S = 15.0
"""So often whoever waits for a command says that it is alive."""
SILENT_S = 60.0
"""Silent for so long it is dead, and its command was ended with it (``clients.keeper``)."""
ENDED = ("Succeeded", "Failed")


def check(run: Run, plan: GroupPlan) -> Blocked | None:
    """Why the step can't be begun here, or None; asked before anything is touched."""
    command = run.settings.groups[plan.name].image_command
    if plan.image_step is not ImageStep.COMMAND or command is None or run.outside.commands is None:
        return None
    try:
        run.outside.commands.check(command)
    except BlockedError as error:
        return error.blocked
    return None


def timeout_s(policy: Policy) -> float:
    """Seconds that a group's command or pod may take; 0 for the other image steps."""
    if policy.image_step is ImageStep.COMMAND and policy.image_command is not None:
        return policy.image_command.timeout
    if policy.image_step is ImageStep.POD and policy.image_pod is not None:
        return policy.image_pod.timeout
    return 0.0


def advance(run: Run, plan: GroupPlan, launches: Callable[[], bool]) -> Outcome:
    """Begin it, or see how it goes.

    :param launches: reads whether the group's template launches the target by now.
    :returns: Done once it has ended and the template is right; Waiting; Blocked with the last lines of its output.
    """
    ledger = lock.require(run).ledger
    known = ledger.image_runs.get(plan.name)
    if known is None:
        return Done() if launches() else _begin(run, plan, ledger)
    if not known.ended:
        outcome = _goes(run, plan, known, launches)
        if isinstance(outcome, Waiting):
            return outcome
        clear(run, plan.name)
        if isinstance(outcome, Blocked):
            return outcome
    return Done() if launches() else _in_vain(run, plan, known)


def clear(run: Run, group_name: str) -> None:
    """End what is still running of a group's image step; nothing if it has ended. This run holds the lock."""
    known = lock.require(run).ledger.image_runs.get(group_name)
    if known is None or known.ended:
        return
    if known.how is ImageStep.COMMAND and run.outside.commands is not None:
        run.outside.commands.end(_key(run, group_name))
    if known.pod:
        run.cluster.objects.remove_pod(known.namespace, known.pod)
    ended = known.model_copy(update={"ended": True})
    lock.change(run, lambda ledger: ledger.with_image_run(group_name, ended))


def variables(run: Run, plan: GroupPlan) -> dict[str, str]:
    """What a command, and each container of a pod, finds in its environment."""
    image, group = plan.target.image, run.look().groups.get(plan.asg)
    kops = group.tags.get(CLUSTER_TAG) if group else None
    return {
        **({"NODE_ROTATION_KOPS_CLUSTER": kops} if kops else {}),
        "NODE_ROTATION_ENVIRONMENT": run.settings.environment,
        "NODE_ROTATION_CLUSTER": run.settings.cluster.name,
        "NODE_ROTATION_GROUP": plan.name,
        "NODE_ROTATION_ASG": plan.asg,
        "NODE_ROTATION_IMAGE_ID": image.id,
        "NODE_ROTATION_IMAGE_NAME": image.name,
        "NODE_ROTATION_IMAGE_OWNER": image.owner,
    }


def _begin(run: Run, plan: GroupPlan, ledger: Ledger) -> Outcome:
    """One at a time: such tools lock, or overwrite, a state that the groups of a cluster share."""
    if busy := _busy(ledger):
        return Waiting((f"the image step of group {busy} is on its way",), POLL_S)
    policy = run.settings.groups[plan.name]
    if plan.image_step is ImageStep.COMMAND and run.outside.commands is None:
        return Waiting((f"the image command of group {plan.name} needs a worker",), here=True)
    begun = ImageRun(how=plan.image_step, since=run.clock.now())
    if plan.image_step is ImageStep.POD and policy.image_pod is not None:
        begun = begun.model_copy(update={"pod": _pod_name(run, plan), "namespace": policy.image_pod.namespace})
    if _won(run, plan.name, begun):
        _start(run, plan, policy, begun)
    return Waiting((f"the image step of group {plan.name} has begun",), POLL_S, here=begun.how is ImageStep.COMMAND)


def _won(run: Run, group_name: str, begun: ImageRun) -> bool:
    """Write it down; False if another actor of this run was faster."""
    won = False

    def claim(ledger: Ledger) -> Ledger:
        nonlocal won
        won = not _busy(ledger) and group_name not in ledger.image_runs
        return ledger.with_image_run(group_name, begun) if won else ledger

    lock.change(run, claim)
    return won


def _busy(ledger: Ledger) -> str:
    return next((group for group, known in ledger.image_runs.items() if not known.ended), "")


def _start(run: Run, plan: GroupPlan, policy: Policy, begun: ImageRun) -> None:
    said = variables(run, plan)
    try:
        if policy.image_command is not None and begun.how is ImageStep.COMMAND and run.outside.commands is not None:
            run.outside.commands.begin(_key(run, plan.name), policy.image_command, said)
        if policy.image_pod is not None and begun.how is ImageStep.POD:
            run.cluster.objects.begin_pod(_manifest(policy.image_pod, begun.pod, said))
            created = begun.model_copy(update={"created": True})
            lock.change(run, lambda ledger: ledger.with_image_run(plan.name, created))
    except BlockedError:
        clear(run, plan.name)
        raise


def _goes(run: Run, plan: GroupPlan, known: ImageRun, launches: Callable[[], bool]) -> Outcome:
    overdue = run.clock.now() - known.since > timeout_s(run.settings.groups[plan.name])
    if known.how is ImageStep.POD and not known.created:  # whoever began it died, or got no answer
        _start(run, plan, run.settings.groups[plan.name], known)
        return Waiting((f"the image step of group {plan.name} has begun",), POLL_S)
    if known.how is ImageStep.POD:
        return _pod_goes(run, plan, known, overdue=overdue)
    return _command_goes(run, plan, known, launches, overdue=overdue)


def _command_goes(
    run: Run, plan: GroupPlan, known: ImageRun, launches: Callable[[], bool], *, overdue: bool
) -> Outcome:
    state = run.outside.commands.state(_key(run, plan.name)) if run.outside.commands else None
    what = f"the image command of group {plan.name}"
    if state is None:  # a process that has died began it, or one that is still at it
        if launches():
            return Done()
        if not overdue and run.clock.now() - (known.heard or known.since) > SILENT_S:
            return _begin_again(run, plan, known)
        if not overdue:
            return Waiting((f"{what} was begun by another process",), POLL_S)
        return _blocked(plan, f"nobody knows how {what} ended, {span(run.clock.now() - known.since)} after it began")
    if state.code == 0:
        return Done()
    if state.code is not None:
        return _blocked(plan, f"{what} failed with exit code {state.code}", state.tail)
    if overdue:
        return _blocked(plan, f"{what} did not end within {span(run.clock.now() - known.since)}", state.tail)
    _say_alive(run, plan.name, known)
    return Waiting((f"{what} runs",), POLL_S, here=True)


def _say_alive(run: Run, group_name: str, known: ImageRun) -> None:
    now = run.clock.now()
    if now - (known.heard or known.since) >= HEARD_S:
        _replaced(run, group_name, known, known.model_copy(update={"heard": now}))


def _begin_again(run: Run, plan: GroupPlan, known: ImageRun) -> Waiting:
    """The worker that ran it died."""
    if run.outside.commands is None:
        return Waiting((f"the image command of group {plan.name} needs a worker: the one that ran it died",), here=True)
    begun = ImageRun(how=known.how, since=run.clock.now())
    if _replaced(run, plan.name, known, begun):
        log.warning("the image command of group %s is begun again: the worker that ran it died", plan.name)
        _start(run, plan, run.settings.groups[plan.name], begun)
    return Waiting((f"the image step of group {plan.name} has begun again",), POLL_S, here=True)


def _replaced(run: Run, group_name: str, known: ImageRun, by: ImageRun) -> bool:
    """Write it down instead of what was known; False if another actor of this run was faster."""
    won = False

    def swap(ledger: Ledger) -> Ledger:
        nonlocal won
        won = ledger.image_runs.get(group_name) == known
        return ledger.with_image_run(group_name, by) if won else ledger

    lock.change(run, swap)
    return won


def _pod_goes(run: Run, plan: GroupPlan, known: ImageRun, *, overdue: bool) -> Outcome:
    state = run.cluster.objects.pod_state(known.namespace, known.pod)
    what = f"the image pod {known.namespace}/{known.pod} of group {plan.name}"
    if state is None:
        return _blocked(plan, f"{what} was removed before it had ended")
    if state.phase not in ENDED and not overdue:
        said = f" ({state.reason})" if state.reason else ""
        return Waiting((f"{what} is {state.phase}{said}",), POLL_S)
    tail = run.cluster.objects.pod_log(known.namespace, known.pod)
    for line in tail:
        log.info("%s: %s", known.pod, line)
    if state.phase == "Succeeded":
        return Done()
    how = f"failed: {state.reason}" if state.phase == "Failed" else f"is {state.phase} after {_since(run, known)}"
    return _blocked(plan, f"{what} {how}", tail)


def _since(run: Run, known: ImageRun) -> str:
    return span(run.clock.now() - known.since)


def _in_vain(run: Run, plan: GroupPlan, known: ImageRun) -> Blocked:
    image = plan.target.image
    return Blocked(
        f"the image {known.how} of group {plan.name} ended well, but its template does not launch {image.id}",
        (f"group {plan.name}", f"asg {plan.asg}", f"image {image.id} {image.name}"),
        f"See what it changed: it is told the image in $NODE_ROTATION_IMAGE_ID, the group in $NODE_ROTATION_ASG"
        f" ({plan.asg}).",
    )


def _blocked(plan: GroupPlan, reason: str, tail: tuple[str, ...] = ()) -> Blocked:
    said = f"; it said last: {' | '.join(tail)}" if tail else ""
    remedy = "Run it by hand until it works, then start again: what was prepared is restored."
    return Blocked(f"{reason}{said}", (f"group {plan.name}", f"asg {plan.asg}"), remedy)


def _key(run: Run, group_name: str) -> str:
    return f"{run.settings.name}/{run.id}/{group_name}"


def _pod_name(run: Run, plan: GroupPlan) -> str:
    """The same for every actor of a run, and no other run's."""
    return f"node-rotation-image-{hashlib.sha256(_key(run, plan.name).encode()).hexdigest()[:12]}"


def _manifest(pod: ImagePod, name: str, said: Mapping[str, str]) -> dict[str, Any]:
    given = [{"name": key, "value": value} for key, value in said.items()]
    parts = {
        part: [{**container, "env": [*container.get("env", ()), *given]} for container in pod.spec[part]]
        for part in ("initContainers", "containers")
        if pod.spec.get(part)
    }
    labels = {"app.kubernetes.io/managed-by": "node-rotation", "app.kubernetes.io/component": "image-step"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": pod.namespace, "labels": labels},
        "spec": {"restartPolicy": "Never", **pod.spec, **parts},
    }
