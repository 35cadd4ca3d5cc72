"""The AWS of one account and region: clock, machines, Auto Scaling, images, and what goes wrong."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node_rotation.testing.autoscaling import AutoScaling
from node_rotation.testing.managed_groups import ManagedGroups
from node_rotation.testing.managed_roller import Roller
from node_rotation.testing.managed_values import Pace
from node_rotation.testing.targets import Targets
from proving_ground.aws.clock import RealClock
from proving_ground.aws.events import EventStream, InstanceEvent
from proving_ground.aws.faults import FaultBook
from proving_ground.aws.identities import Identities
from proving_ground.aws.images import PUBLIC, Images, iso
from proving_ground.aws.intake import Intakes
from proving_ground.aws.machines import Machines
from proving_ground.aws.nodegroups import GroundTemplates
from proving_ground.aws.request_log import RequestLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from node_rotation.world.clients import Cluster
    from proving_ground.scenario import ImageBehaviour, Scenario

REQUEST_LOG = "aws-requests.jsonl"
EVENT_LOG = "aws-events.jsonl"


@dataclass(frozen=True)
class KubernetesCluster:
    """What EKS answers about a cluster."""

    name: str
    endpoint: str
    certificate_authority: str
    version: str


class AwsWorld:
    """Everything behind the endpoint. Whoever reads or changes it holds ``lock``.

    :param scenario: region, account, timing, seed and faults come from here; ``seed`` fills it.
    :param directory: where the request log and the event log are appended to.
    """

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self.account, self.region = scenario.account, scenario.region
        self.lock = threading.RLock()
        self.clock = RealClock(self.lock)
        self.faults = FaultBook(scenario.faults, scenario.region)
        self.identities = Identities(scenario.account)
        self.intakes = Intakes()
        self.requests = RequestLog(directory / REQUEST_LOG)
        self.events = EventStream(directory / EVENT_LOG)
        self.images = Images(self.account, self.region)
        self.machines = Machines(
            self.account,
            self.region,
            clock=self.clock,
            timing=scenario.timing,
            images=self.images,
            stream=self.events,
            seed=scenario.seed,
        )
        self.targets = Targets(self.machines, self.clock, self.machines.answers)
        self.autoscaling = AutoScaling(
            self.machines,
            self.clock,
            self.faults,
            reconcile_s=scenario.timing.reconcile,
            capacity_retry_s=scenario.timing.capacity_retry,
            detach_s=scenario.timing.detach,
            seed=scenario.seed,
            targets=self.targets,
        )
        self.machines.changed = self.autoscaling.instance_changed
        timing = scenario.timing
        self._pace = Pace(timing.eks_eviction, timing.eks_pause, timing.eks_look, timing.eks_nodes)
        # EKS calls API servers, which takes its time: on a thread of its own, and not under the world's lock.
        self._eks_clock = RealClock(threading.RLock())
        self.kubernetes: dict[str, Cluster] = {}
        self.eks = ManagedGroups(self.autoscaling, GroundTemplates(self), self._eks_clock, self._roller, self.lock)
        self.clusters: dict[str, KubernetesCluster] = {}
        # By action and client token: what was asked, and the answer that a repetition gets again.
        self.answers: dict[tuple[str, str], tuple[Any, Any]] = {}
        # Set by the server: how the world calls its own API, unlogged.
        self.client: Callable[[str], Any] = lambda service: None

    def subscribe(self, callback: Callable[[InstanceEvent], None]) -> None:
        """Hear of every instance's states from now on, in order, on one thread, outside the lock."""
        self.events.subscribe(callback)

    def instances(self) -> list[InstanceEvent]:
        """Every instance that is not terminated, as the event of the state it is in."""
        with self.lock:
            return self.machines.current()

    def register_cluster(self, name: str, endpoint: str, certificate_authority: str, version: str = "1.36") -> None:
        """Have EKS answer for a cluster.

        :param certificate_authority: base64 of the PEM, as in a kubeconfig.
        """
        with self.lock:
            self.clusters[name] = KubernetesCluster(name, endpoint, certificate_authority, version)

    def publish(
        self,
        name: str,
        created: str | None = None,
        behaviour: ImageBehaviour = "good",
        parameter: str | None = "/images/base/current",
    ) -> str:
        """A new image comes out, and a parameter points at it.

        :param created: ISO 8601; None means now.
        :param parameter: None leaves every parameter as it is.
        :return: the image's id.
        """
        with self.lock:
            image_id = self.images.register(name, created=created, behaviour=behaviour)
        if parameter:
            self.point(parameter, image_id)
        with self.lock:
            record = self.images.record(image_id)
            self.events.note(
                self.clock.now(),
                "image-published",
                image_id=image_id,
                name=name,
                created=iso(record.creation_date),
                parameter=parameter,
            )
        return image_id

    def point(self, parameter: str, image_id: str, modified: str | None = None) -> None:
        """Have a parameter, public or our own, name an image. Not under the lock: it may call the API."""
        if parameter.startswith(PUBLIC):
            with self.lock:
                self.images.publish_parameter(parameter, image_id, modified)
            return
        self.client("ssm").put_parameter(Name=parameter, Value=image_id, Type="String", Overwrite=True)

    def _roller(self, cluster: str) -> Roller:
        return Roller(self.autoscaling, self.kubernetes.get(cluster), self.lock, self._pace)

    def close(self) -> None:
        """Stop time and close the logs."""
        self._eks_clock.stop()
        self.clock.stop()
        self.events.close()
        self.requests.close()
