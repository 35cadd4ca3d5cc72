"""A real AWS account behind the protocol :class:`~node_rotation.world.clients.Cloud`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node_rotation.clients.aws_calls import Calls
from node_rotation.clients.aws_groups import Groups
from node_rotation.clients.aws_images import Images
from node_rotation.clients.aws_instances import Instances
from node_rotation.clients.aws_nodegroups import Nodegroups
from node_rotation.clients.aws_targets import TargetGroups

if TYPE_CHECKING:
    import boto3

DETAILS_S = 30.0


class AwsCloud(Groups, Instances, Images, Nodegroups, TargetGroups):
    """One AWS account and region.

    :param session: credentials, region and endpoint (``AWS_ENDPOINT_URL`` works) come from it.
    :param details_s: for how many seconds a group's hooks and instance refreshes are believed.
    """

    def __init__(self, session: boto3.Session, details_s: float = DETAILS_S) -> None:
        calls = Calls(session)
        Groups.__init__(self, calls, details_s)
        Instances.__init__(self, calls)
        Images.__init__(self, calls)
        Nodegroups.__init__(self, calls)
        TargetGroups.__init__(self, calls)
