"""EC2 instances with time in them: moto keeps the records, this gives them a life.

Source of the states: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moto.ec2.models import ec2_backends

from node_rotation.testing.account import SILENT
from node_rotation.testing.scaling_values import AwsFault, Blueprint, Launch, LaunchFailed, TemplateRef
from proving_ground.aws.events import InstanceEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from proving_ground.aws.clock import RealClock
    from proving_ground.aws.events import EventStream, Kind
    from proving_ground.aws.images import Images
    from proving_ground.scenario import Timing

GROUP_TAG = "aws:autoscaling:groupName"
_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
_GRAVITON = re.compile(r"^[a-z]+\d+g[a-z]*\.")


@dataclass
class _Machine:
    record: Any
    # moto forgets the address on termination; who was known by it must still be named by it.
    private_dns_name: str
    warm: bool = False
    on_running: list[Callable[[], None]] = field(default_factory=list)
    on_gone: list[Callable[[], None]] = field(default_factory=list)


class Machines:
    """All instances of one account and region; the ``Compute`` of Auto Scaling.

    :param changed: called with an instance's id when it stops or goes.
    """

    def __init__(
        self,
        account: str,
        region: str,
        *,
        clock: RealClock,
        timing: Timing,
        images: Images,
        stream: EventStream,
        seed: int,
    ) -> None:
        self._backend: Any = ec2_backends[account][region]
        self._region, self._clock, self._timing = region, clock, timing
        self._images, self._stream = images, stream
        self._jitter = random.Random(seed)
        self._machines: dict[str, _Machine] = {}
        # Seconds until a launched machine runs; a fleet that is only being seeded need not wait as long.
        self.boot_s = timing.boot
        self.configurations: dict[str, dict[str, Any]] = {}
        self.changed: Callable[[str], None] = lambda instance_id: None

    # What Auto Scaling needs.

    def blueprint(self, source: TemplateRef | str) -> Blueprint:
        """Resolve a template or a launch configuration as of now, ``resolve:ssm:`` included."""
        if isinstance(source, str):
            kept = self.configurations.get(source)
            if kept is None:
                raise LaunchFailed(f"Launch configuration name not found - {source}.")
            return Blueprint(self._images.resolve(kept["ImageId"]), kept["InstanceType"], configuration=source)
        template = self.template(source)
        version = template.get_version(source.version)
        return Blueprint(
            self._images.resolve(version.image_id),
            version.instance_type or "m1.small",
            template_id=template.id,
            template_name=template.name,
            version=str(version.number),
        )

    def template(self, ref: TemplateRef) -> Any:
        """The launch template's record, by id or by name."""
        if ref.template_id:
            return self._backend.get_launch_template(ref.template_id)
        return self._backend.get_launch_template_by_name(ref.template_name or "")

    def launch(self, launch: Launch) -> str:
        """Start one for a group; it is pending until it has booted."""
        blueprint = launch.blueprint
        self._check_image(blueprint)
        template = None
        if blueprint.template_id:
            template = {"LaunchTemplateId": blueprint.template_id, "Version": blueprint.version}
        reservation = self._backend.run_instances(
            blueprint.image_id,
            1,
            None,
            [],
            instance_type=blueprint.instance_type,
            is_instance_type_default=False,
            tags={"instance": {**launch.tags, GROUP_TAG: launch.group}},
            region_name=self._region,
            subnet_id=launch.place.subnet_id,
            launch_template=template,
            associate_public_ip=None,
        )
        record = reservation.instances[0]
        self.adopt(record, warm=launch.warm)
        return str(record.id)

    def on_running(self, instance_id: str, callback: Callable[[], None]) -> None:
        """Call back once, when it is running."""
        self._machine(instance_id).on_running.append(callback)

    def state(self, instance_id: str) -> str:
        """EC2's state name."""
        return str(self._machine(instance_id).record.state)

    def answers(self, instance_id: str) -> bool:
        """Whether what runs on it answers the health checks of load balancers."""
        behaviour, _ = self._images.behaviour(self._machine(instance_id).record.image_id)
        return behaviour not in SILENT

    def describe(self, instance_id: str) -> tuple[Blueprint, str]:
        """What an instance runs, and its zone."""
        record, tags = self._machine(instance_id).record, self.tags(instance_id)
        template_id = tags.get("aws:ec2launchtemplate:id")
        name = self._backend.get_launch_template(template_id).name if template_id else None
        version = tags.get("aws:ec2launchtemplate:version")
        blueprint = Blueprint(record.image_id, record.instance_type, template_id, name, version)
        return blueprint, str(record.availability_zone)

    def terminate(self, instance_id: str, on_gone: Callable[[], None]) -> None:
        """Terminate it whatever protects it from the API; ``on_gone`` once it is gone."""
        machine = self._machine(instance_id)
        state = machine.record.state
        if state == "terminated":
            on_gone()
            return
        machine.on_gone.append(on_gone)
        if state != "shutting-down":
            self._enter(machine, "shutting-down")
            self._clock.after(self._timing.shutdown, lambda: self._gone(machine))

    def set_group_tag(self, instance_id: str, group: str | None) -> None:
        """Put or remove the tag that names the group."""
        if group:
            self._backend.create_tags([instance_id], {GROUP_TAG: group})
        else:
            self._backend.delete_tags([instance_id], {GROUP_TAG: None})

    def zone_of(self, subnet_id: str) -> str:
        """The zone that a subnet is in."""
        return str(self._backend.get_subnet(subnet_id).availability_zone)

    # What EC2's own API needs.

    def adopt(self, record: Any, *, warm: bool = False) -> None:
        """Let an instance boot that moto has just recorded.

        :param warm: it is stopped once it has booted, and was never of use.
        """
        machine = _Machine(record, record.private_dns_name, warm)
        self._machines[record.id] = machine
        self._boot(machine, "launched")

    def start(self, instance_id: str) -> None:
        """Boot a stopped instance again."""
        machine = self._machine(instance_id)
        if machine.record.state == "stopped":
            self._boot(machine, None)

    def stop(self, instance_id: str) -> None:
        """Stop it; what runs keeps its disks."""
        machine = self._machine(instance_id)
        if machine.record.state in ("pending", "running"):
            self._enter(machine, "stopping")
            self._clock.after(self._timing.stop, lambda: self._stopped(machine))

    def protected(self, instance_id: str) -> bool:
        """Whether termination by the API is forbidden."""
        return bool(self._machine(instance_id).record.disable_api_termination)

    def tags(self, instance_id: str) -> dict[str, str]:
        """Its tags by key."""
        return {tag["key"]: tag["value"] for tag in self._machine(instance_id).record.get_tags()}

    def tags_of(self, resource_id: str) -> dict[str, str]:
        """The tags of anything of EC2's by key; none if it is not there."""
        found = self._backend.describe_tags(filters={"resource-id": [resource_id]})
        return {tag["key"]: tag["value"] for tag in found}

    def current(self) -> list[InstanceEvent]:
        """Every instance that is not terminated, as the event of the state it is in."""
        states: dict[str, Kind] = {"pending": "launched"}
        return [
            self._event(machine, states.get(machine.record.state, machine.record.state))
            for machine in self._machines.values()
            if machine.record.state != "terminated"
        ]

    def _machine(self, instance_id: str) -> _Machine:
        if instance_id not in self._machines:
            raise AwsFault("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
        return self._machines[instance_id]

    def _check_image(self, blueprint: Blueprint) -> None:
        image = self._backend.amis.get(blueprint.image_id)
        if image is None or image.state != "available":
            raise LaunchFailed(f"The image id '[{blueprint.image_id}]' does not exist.")
        wanted = "arm64" if _GRAVITON.match(blueprint.instance_type) else "x86_64"
        if image.architecture and image.architecture != wanted:
            raise LaunchFailed(
                f"The architecture '{wanted}' of the specified instance type does not match the architecture "
                f"'{image.architecture}' of the specified AMI. Specify an instance type and an AMI that have "
                "matching architectures, and try again."
            )

    def _boot(self, machine: _Machine, kind: Kind | None) -> None:
        self._set_state(machine, "pending")
        if kind:
            self._stream.emit(self._event(machine, kind))
        jitter = self._timing.boot_jitter
        delay = self.boot_s * (1 + self._jitter.uniform(-jitter, jitter))
        self._clock.after(delay, lambda: self._booted(machine))

    def _booted(self, machine: _Machine) -> None:
        if machine.record.state == "pending":
            self._enter(machine, "stopped" if machine.warm else "running")
            machine.warm = False
            waiting, machine.on_running = machine.on_running, []
            for callback in waiting:
                callback()

    def _stopped(self, machine: _Machine) -> None:
        if machine.record.state == "stopping":
            self._enter(machine, "stopped")

    def _gone(self, machine: _Machine) -> None:
        machine.record.disable_api_termination = False
        self._backend.terminate_instances([machine.record.id])
        self._enter(machine, "terminated")
        waiting, machine.on_gone = machine.on_gone, []
        for callback in waiting:
            callback()

    def _enter(self, machine: _Machine, state: Kind) -> None:
        self._set_state(machine, state)
        self._stream.emit(self._event(machine, state))
        if state != "running":
            self.changed(machine.record.id)

    @staticmethod
    def _set_state(machine: _Machine, state: str) -> None:
        # EC2's record has no setter for its state; its two fields are public.
        machine.record.instance_state.name = state
        machine.record.instance_state.code = _CODES[state]

    def _event(self, machine: _Machine, kind: Kind) -> InstanceEvent:
        record, tags = machine.record, self.tags(machine.record.id)
        behaviour, fails_after = self._images.behaviour(record.image_id)
        return InstanceEvent(
            kind,
            record.id,
            record.image_id,
            behaviour,
            fails_after,
            record.instance_type,
            record.availability_zone,
            machine.private_dns_name,
            self._region,
            tags,
            tags.get(GROUP_TAG),
            self._clock.now(),
        )
