"""What EKS keeps of managed node groups and their updates, and the world that it rolls them in.

Source: https://docs.aws.amazon.com/eks/latest/APIReference/API_Nodegroup.html and API_Update.html
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from node_rotation.testing.scaling_values import TemplateRef

CUSTOM = "CUSTOM"
MINIMAL = "MINIMAL"


class UpdateFailed(Exception):  # noqa: N818 - the end of an update, not a mishap of ours
    """EKS gives an update up.

    :param code: of API_ErrorDetail.
    """

    def __init__(self, code: str, message: str, resources: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code, self.message, self.resources = code, message, resources


@dataclass(frozen=True)
class Pace:
    """How EKS takes its time, seconds, as its user guide says; ``look`` it does not say.

    :param eviction: until an update fails over a machine that does not get empty.
    :param pause: between an empty machine and its termination.
    :param look: between two looks at the world.
    :param nodes: until an update fails because new nodes don't get Ready: each must bootstrap within 15 minutes.
    :param waits: for the replacements of what it terminated before it chooses the next; the guide does not say.
    """

    eviction: float = 900.0
    pause: float = 60.0
    look: float = 1.0
    nodes: float = 900.0
    waits: bool = True


@dataclass
class UpdateRecord:
    """One update; ``params`` are pairs of type and value."""

    id: str
    type: str
    created_at: float
    params: tuple[tuple[str, str], ...]
    status: str = "InProgress"
    errors: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    token: str = ""
    force: bool = False


@dataclass
class Nodegroup:
    """A managed node group.

    :param template: the user's launch template, with the version that is in use; None without one.
    :param surplus: machines that an update which failed has left in it.
    """

    cluster: str
    name: str
    asg: str
    ami_type: str
    version: str
    release: str = ""
    template: TemplateRef | None = None
    max_unavailable: int | None = None
    max_unavailable_percentage: int | None = None
    strategy: str = "DEFAULT"
    status: str = "ACTIVE"
    issues: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    surplus: int = 0
    updates: dict[str, UpdateRecord] = field(default_factory=dict)

    @property
    def in_flight(self) -> UpdateRecord | None:
        """The update that EKS works on."""
        return next((update for update in self.updates.values() if update.status == "InProgress"), None)


class Templates(Protocol):
    """EC2 and SSM, as far as EKS needs them."""

    def newest(self, ami_type: str, version: str) -> str:
        """The release version that AWS recommends now."""

    def image_of(self, ami_type: str, version: str, release: str) -> str:
        """The image of a release version; :raises LookupError: if there is none."""

    def resolve(self, template: TemplateRef) -> tuple[str, str]:
        """The number and the image of a version of a user's launch template; :raises LookupError: if it is gone."""

    def relaunch(self, asg: str, image_id: str) -> None:
        """Write a version of EKS' own template with this image; :raises LookupError: if that template is gone."""
