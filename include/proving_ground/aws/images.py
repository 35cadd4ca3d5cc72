"""Machine images with dates, owners and behaviours, and the SSM parameters that name them.

Sources: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-deprecate.html and
https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-public-parameters.html
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

from moto.ec2.models import ec2_backends
from moto.ssm.models import ssm_backends

from node_rotation.testing.scaling_values import LaunchFailed
from proving_ground.scenario import ImageBehaviour

if TYPE_CHECKING:
    from collections.abc import Mapping

AMAZON = "602401143452"
RESOLVE = "resolve:ssm:"
PUBLIC = "/aws/"


@dataclass
class PublicParameter:
    """A parameter that AWS publishes: values with their dates, oldest first; only the last is readable."""

    name: str
    values: list[tuple[str, float]] = field(default_factory=list)


def parse_time(text: str) -> datetime:
    """An ISO 8601 time; one without a zone is UTC."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def iso(moment: datetime) -> str:
    """As EC2 writes a time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _check(behaviour: str) -> None:
    known = get_args(ImageBehaviour)
    if behaviour not in known:
        raise ValueError(f"behaviour {behaviour!r} is none of {', '.join(known)}")


class Images:
    """The images of one account and region, by name and by id."""

    def __init__(self, account: str, region: str) -> None:
        self._account = account
        self._backend = ec2_backends[account][region]
        self._parameters = ssm_backends[account][region]
        self._behaviours: dict[str, tuple[ImageBehaviour, float]] = {}
        self.public: dict[str, PublicParameter] = {}
        self.deprecations: dict[str, datetime] = {}
        self.releases: dict[str, str] = {}  # EKS' release version of an image

    def register(
        self,
        name: str,
        *,
        created: str | None = None,
        owner: str = "self",
        architecture: str = "x86_64",
        deprecated: str | None = None,
        behaviour: ImageBehaviour = "good",
        fails_after: float = 5.0,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Add an image and answer its id.

        :param created: ISO 8601; None means now.
        :param owner: ``self``, ``amazon`` or an account id.
        """
        _check(behaviour)
        image = self._backend.register_image(name)
        image.creation_date = parse_time(created) if created else datetime.now(UTC)
        image.architecture = architecture
        image.virtualization_type, image.hypervisor, image.root_device_type = "hvm", "xen", "ebs"
        if owner != "self":
            image.owner_id = AMAZON if owner == "amazon" else owner
            image.owner_alias = "amazon" if owner == "amazon" else None
            image.launch_permissions.append({"Group": "all"})
        image.add_tags(dict(tags or {}))
        if deprecated:
            self.deprecate(image.id, parse_time(deprecated))
        self._behaviours[image.id] = (behaviour, fails_after)
        return str(image.id)

    def find(self, name_or_id: str) -> str:
        """The id of an image.

        :raises LookupError: if there is no such image.
        """
        for image in self._backend.amis.values():
            if name_or_id in (image.id, image.name):
                return str(image.id)
        raise LookupError(f"there is no image {name_or_id}")

    def deprecate(self, image_id: str, when: datetime) -> None:
        """Have EC2 show it as deprecated from then on."""
        self.deprecations[image_id] = when
        self.record(image_id).deprecation_time = iso(when)

    def record(self, image_id: str) -> Any:
        """EC2's record of an image."""
        return self._backend.amis[image_id]

    def behaviour(self, image_id: str) -> tuple[ImageBehaviour, float]:
        """How machines on it behave, and after how many seconds they fail if they do."""
        return self._behaviours.get(image_id, ("good", 0.0))

    def set_behaviour(self, name_or_id: str, behaviour: ImageBehaviour, fails_after: float = 5.0) -> None:
        """Change it for machines that boot from now on."""
        _check(behaviour)
        self._behaviours[self.find(name_or_id)] = (behaviour, fails_after)

    def publish_parameter(self, name: str, image_id: str, modified: str | None = None) -> None:
        """Point a public parameter (``/aws/...``) at an image, or at its release version if it is called so."""
        value = self.releases.get(image_id, "") if name.endswith("/release_version") else image_id
        at = parse_time(modified).timestamp() if modified else time.time()
        self.public.setdefault(name, PublicParameter(name)).values.append((value, at))

    def resolve(self, image: str) -> str:
        """``resolve:ssm:<name>`` to the image id of now; anything else stays as it is.

        Source: https://docs.aws.amazon.com/autoscaling/ec2/userguide/using-systems-manager-parameters.html
        :raises LaunchFailed: if the parameter does not exist.
        """
        if not image.startswith(RESOLVE):
            return image
        name = image.removeprefix(RESOLVE)
        if name in self.public:
            return self.public[name].values[-1][0]
        found = self._parameters.get_parameter(name)
        if found is None:
            raise LaunchFailed(f"The parameter {name} that the image is named by does not exist.")
        return str(found.value)
