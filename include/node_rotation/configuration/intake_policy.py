"""How a cluster's acceptance of new installations is closed while it rotates, and opened again."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from node_rotation.configuration import shapes
from node_rotation.configuration.durations import Duration
from node_rotation.model import Value


class HttpCall(Value):
    """One request, relative to the endpoint's address. It may be sent more than once and has to be idempotent."""

    method: Literal["POST", "PUT", "PATCH", "DELETE"] = Field(default="POST", description="of the HTTP request")
    path: str = Field(
        pattern=shapes.PATH.pattern, description="below the endpoint's address, e.g. /clusters/prod/intake"
    )
    body: dict[str, Any] | None = Field(default=None, examples=[{"open": False}], description="sent as JSON")


class HttpPlace(Value):
    """Where requests go: an Airflow connection; for the CLI a url and a token's variable."""

    setting: ClassVar[str]
    noun: ClassVar[str]
    connection: str = Field(description="Airflow connection id (type HTTP)")
    url: str | None = Field(
        default=None, pattern=shapes.URL.pattern, description="for the CLI; in Airflow the connection has it"
    )
    token_variable: str | None = Field(
        default=None,
        examples=["INTAKE_TOKEN"],
        description="for the CLI: the environment variable that holds a bearer token",
    )
    request_timeout: Duration = Field(default=10.0, gt=0, description="how long one request may take")


class HttpIntake(HttpPlace):
    """An endpoint of whoever installs into the cluster. Its address and token are never in this file."""

    setting: ClassVar[str] = "intake.http"
    noun: ClassVar[str] = "intake"
    connection: str = Field(default="node_rotation_intake", description="Airflow connection id (type HTTP)")
    close: HttpCall
    open: HttpCall


class ObjectRef(Value):
    """An object of the cluster by its kind and name."""

    api_version: str = Field(default="v1", pattern=shapes.API_VERSION.pattern, description="e.g. apps/v1")
    kind: str = Field(examples=["ConfigMap"], description="of the object that is patched")
    namespace: str | None = Field(default=None, examples=["installer"], description="none for kinds without namespaces")
    name: str = Field(examples=["intake"], description="of the object that is patched")

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


class KubernetesIntake(ObjectRef):
    """An object of the cluster whose content closes and opens the intake: a ConfigMap, a custom resource."""

    close: dict[str, Any] = Field(examples=[{"data": {"open": "false"}}], description="a JSON merge patch")
    open: dict[str, Any] = Field(examples=[{"data": {"open": "true"}}], description="a JSON merge patch")


class IntakePolicy(Value):
    """One of both; ``timeout`` bounds all tries to close, and all to open."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"http": {"close": {"path": "/intake/close"}, "open": {"path": "/intake/open"}}}]
        }
    )

    http: HttpIntake | None = Field(default=None, description="by requests to whoever installs")
    kubernetes: KubernetesIntake | None = Field(default=None, description="or by patches of an object")
    timeout: Duration = Field(default=300.0, gt=0, description="so long refusals and silence are tried again")

    @model_validator(mode="after")
    def _one_way(self) -> IntakePolicy:
        if (self.http is None) == (self.kubernetes is None):
            raise ValueError("an intake is closed over http or by a patch of a kubernetes object: give one of both")
        return self

    def object_of(self, door: str) -> str:
        """How messages name it.

        :param door: what is closed: ``intake``, or ``autoscaler``.
        """
        if self.http is not None:
            return f"{door} {self.http.close.path} of {self.http.connection}"
        return f"{door} {self.kubernetes}"
