"""EC2 and SSM in memory: instances that boot and go, launch templates, images, parameters."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from node_rotation.errors import BlockedError, GoneError
from node_rotation.model import Image, TemplateVersion
from node_rotation.outcome import Blocked
from node_rotation.testing.clock import VirtualClock
from node_rotation.testing.scaling_values import Blueprint, Launch, LaunchFailed, TemplateRef
from node_rotation.testing.seeds import Timing
from node_rotation.world.aws import Instance, Parameter, Template

GROUP_TAG = "aws:autoscaling:groupName"
GONE = ("shutting-down", "terminated")


def fake_id(prefix: str, name: str) -> str:
    """An AWS-like id that depends on nothing but the name."""
    return f"{prefix}-{hashlib.sha256(name.encode()).hexdigest()[:17]}"


@dataclass
class TemplateVersions:
    """A launch template: what each version launches; ``image`` may be ``resolve:ssm:<parameter>``."""

    name: str
    id: str
    default: str = "1"
    versions: dict[str, tuple[str, str]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def add(self, image: str, instance_type: str) -> str:
        """Write the next version and answer its number."""
        number = str(len(self.versions) + 1)
        self.versions[number] = (image, instance_type)
        return number

    def number(self, said: str) -> str:
        """The number behind ``$Latest``, ``$Default`` or a number.

        :raises LookupError: if there is no such version.
        """
        number = {"$Latest": str(len(self.versions)), "$Default": self.default, "": self.default}.get(said, said)
        if number not in self.versions:
            raise LookupError(f"The launch template {self.name} has no version {said}.")
        return number


class Ec2:
    """Keeps ``scaling_values.Compute`` for Auto Scaling, and answers the cloud client.

    :param on_state: called with each instance that changes its state; the machines' other half listens.
    """

    def __init__(self, clock: VirtualClock, timing: Timing, region: str, seed: int) -> None:
        self.clock, self.timing, self.region = clock, timing, region
        self.random = random.Random(seed)
        self.on_state: list[Callable[[Instance], None]] = []
        self.images: dict[str, Image] = {}
        self.parameters: dict[str, Parameter] = {}
        self.templates: dict[str, TemplateVersions] = {}
        self.configurations: dict[str, tuple[str, str]] = {}
        self.found: dict[str, Instance] = {}
        self.alive: dict[str, None] = {}
        self.blueprints: dict[str, Blueprint] = {}
        self.launched_for: dict[str, str] = {}
        self._running: dict[str, list[Callable[[], None]]] = {}
        self._gone: dict[str, list[Callable[[], None]]] = {}

    # What Auto Scaling calls (scaling_values.Compute).

    def blueprint(self, source: TemplateRef | str) -> Blueprint:
        """Resolve a template reference, or a launch configuration's name, as of now."""
        if isinstance(source, str):
            image, instance_type = self.configurations[source]
            return Blueprint(image, instance_type, configuration=source)
        template = self.template_named(source.template_id or source.template_name or "")
        number = template.number(source.version)
        image, instance_type = template.versions[number]
        return Blueprint(self.resolved(image), instance_type, template.id, template.name, number)

    def launch(self, launch: Launch) -> str:
        """Start an instance; it runs after the boot time, or is never heard of if it is terminated before."""
        if launch.blueprint.image_id not in self.images:
            raise LaunchFailed(f"The image id '[{launch.blueprint.image_id}]' does not exist")
        number = len(self.found) + 1
        instance_id = f"i-{number:017x}"
        instance = Instance(
            id=instance_id,
            image_id=launch.blueprint.image_id,
            instance_type=launch.blueprint.instance_type,
            zone=launch.place.zone,
            state="pending",
            launched_at=self.clock.now(),
            tags={**launch.tags, **_template_tags(launch.blueprint), GROUP_TAG: launch.group},
            private_dns=f"ip-10-{number >> 16}-{number >> 8 & 255}-{number & 255}.{self.region}.compute.internal",
        )
        self.blueprints[instance_id] = launch.blueprint
        self.launched_for[instance_id] = launch.group
        self.alive[instance_id] = None
        self._put(instance)
        self._boot(instance_id, "stopped" if launch.warm else "running")
        return instance_id

    def start(self, instance_id: str) -> None:
        """Boot a stopped instance."""
        self._put(replace(self.found[instance_id], state="pending"))
        self._boot(instance_id, "running")

    def on_running(self, instance_id: str, callback: Callable[[], None]) -> None:
        """Call back once it runs."""
        self._running.setdefault(instance_id, []).append(callback)

    def state(self, instance_id: str) -> str:
        """EC2's state name; ``terminated`` for one that EC2 does not know."""
        return self.found[instance_id].state if instance_id in self.found else "terminated"

    def describe(self, instance_id: str) -> tuple[Blueprint, str]:
        """What an instance runs, and its zone."""
        return self.blueprints[instance_id], self.found[instance_id].zone

    def terminate(self, instance_id: str, on_gone: Callable[[], None]) -> None:
        """Terminate it; again is fine."""
        instance = self.found[instance_id]
        if instance.state == "terminated":
            self.clock.after(0, on_gone)
            return
        self._gone.setdefault(instance_id, []).append(on_gone)
        if instance.state != "shutting-down":
            self._running.pop(instance_id, None)
            self.alive.pop(instance_id, None)
            self._put(replace(instance, state="shutting-down"))
            self.clock.after(self.timing.shutdown, lambda: self._end(instance_id))

    def set_group_tag(self, instance_id: str, group: str | None) -> None:
        """Put or remove ``aws:autoscaling:groupName``."""
        self.retag(instance_id, {GROUP_TAG: group})

    # What the cloud client calls.

    def terminate_by_request(self, instance_id: str) -> None:
        """TerminateInstances by a caller: refused if the instance is protected against it."""
        if instance_id not in self.found:
            raise GoneError(f"The instance ID '{instance_id}' does not exist")
        if self.found[instance_id].termination_protected:
            raise BlockedError(
                Blocked(
                    "The instance is protected against termination",
                    (instance_id,),
                    "Modify its 'disableApiTermination' attribute",
                )
            )
        self.terminate(instance_id, lambda: None)

    def retag(self, instance_id: str, tags: dict[str, str | None]) -> None:
        """Set tags; None removes one."""
        instance = self.found[instance_id]
        kept = {key: value for key, value in instance.tags.items() if key not in tags}
        said = {key: value for key, value in tags.items() if value is not None}
        self.found[instance_id] = replace(instance, tags={**kept, **said})

    def change(self, instance_id: str, **fields: object) -> None:
        """Change what EC2 says of an instance, e.g. its termination protection."""
        self.found[instance_id] = replace(self.found[instance_id], **fields)  # type: ignore[arg-type]

    def template_named(self, name_or_id: str) -> TemplateVersions:
        """:raises LookupError: if there is no such launch template."""
        for template in self.templates.values():
            if name_or_id in (template.id, template.name):
                return template
        raise LookupError(f"The specified launch template, with template name {name_or_id}, does not exist.")

    def resolved(self, image: str) -> str:
        """An image id, through SSM if the template says so."""
        name = image.removeprefix("resolve:ssm:")
        return self.parameter(name).value if name != image else image

    def parameter(self, name: str) -> Parameter:
        """:raises GoneError: if there is none."""
        if name not in self.parameters:
            raise GoneError(f"There is no SSM parameter {name}.")
        return self.parameters[name]

    def put_parameter(self, name: str, image_id: str, modified_at: float | None = None) -> None:
        """Write an SSM parameter."""
        at = self.clock.now() if modified_at is None else modified_at
        self.parameters[name] = Parameter(name, image_id, at)

    def as_template(self, blueprint: Blueprint) -> Template:
        """A blueprint as the cloud client shows it."""
        image = self.images.get(blueprint.image_id)
        return Template(
            template_version(blueprint),
            blueprint.image_id,
            blueprint.instance_type,
            image.architecture if image else "",
        )

    def jittered(self, seconds: float, share: float) -> float:
        """A duration with its uniform jitter; without jitter nothing is drawn."""
        return seconds * self.random.uniform(1 - share, 1 + share) if share else seconds

    def _put(self, instance: Instance) -> None:
        self.found[instance.id] = instance
        for listener in self.on_state:
            listener(instance)

    def _boot(self, instance_id: str, state: str) -> None:
        delay = self.jittered(self.timing.boot, self.timing.boot_jitter)
        self.clock.after(delay, lambda: self._booted(instance_id, state))

    def _booted(self, instance_id: str, state: str) -> None:
        instance = self.found[instance_id]
        if instance.state == "pending":
            self._put(replace(instance, state=state))
            for callback in self._running.pop(instance_id, ()):
                callback()

    def _end(self, instance_id: str) -> None:
        self._put(replace(self.found[instance_id], state="terminated"))
        for callback in self._gone.pop(instance_id, ()):
            callback()


def template_version(blueprint: Blueprint) -> TemplateVersion:
    """What an instance was launched from, in the rotation's words."""
    if blueprint.configuration:
        return TemplateVersion(name=blueprint.configuration)
    return TemplateVersion(
        name=blueprint.template_name or "", id=blueprint.template_id or "", version=blueprint.version or ""
    )


def address_of(instance: Instance) -> str:
    """Its private address, which its name is made of."""
    return ".".join(instance.private_dns.partition(".")[0].split("-")[1:])


def epoch(iso: str) -> float:
    """Seconds since the epoch of an ISO 8601 time as AWS writes it."""
    return datetime.fromisoformat(iso).astimezone(UTC).timestamp()


def _template_tags(blueprint: Blueprint) -> dict[str, str]:
    if not blueprint.template_id:
        return {}
    return {
        "aws:ec2launchtemplate:id": blueprint.template_id,
        "aws:ec2launchtemplate:version": blueprint.version or "",
    }
