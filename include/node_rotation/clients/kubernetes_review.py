"""What we may do at an API server: it is asked, nothing is tried.

https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from node_rotation.checkup.rights import Answer, Right
from node_rotation.clients.kubernetes_api import Api, Json
from node_rotation.clients.kubernetes_objects import kind_of
from node_rotation.configuration.intake_policy import ObjectRef

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class KubernetesReview:
    """SelfSubjectAccessReviews of one API server; every authenticated user may make them.

    :param client: carries address and credentials.
    """

    def __init__(self, client: ApiClient) -> None:
        self._api = Api(client)

    def may(self, right: Right) -> Answer:
        """Ask for one right; an authorizer that failed is UNKNOWN."""
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": _spec(right)}
        status = self._api.call("POST", REVIEWS, f"a review of {right}", body=body).get("status") or {}
        if status.get("allowed"):
            return Answer.ALLOWED
        return Answer.UNKNOWN if status.get("evaluationError") else Answer.DENIED

    def right_to_patch(self, ref: ObjectRef) -> Right:
        """What has to be allowed to patch an object.

        :raises GoneError: if there is no such kind.
        """
        kind = kind_of(self._api, ref)
        group, slash, _ = ref.api_version.rpartition("/")
        return Right("patch", kind.plural, group if slash else "", kind.namespace, ref.name)


def _spec(right: Right) -> Json:
    if right.path:
        return {"nonResourceAttributes": {"path": right.path, "verb": right.verb}}
    resource, _, subresource = right.resource.partition("/")
    attributes = {
        "verb": right.verb,
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
        "namespace": right.namespace,
        "name": right.name,
    }
    return {"resourceAttributes": {key: value for key, value in attributes.items() if value}}
