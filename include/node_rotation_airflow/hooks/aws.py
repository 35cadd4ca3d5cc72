"""An AWS connection of Airflow (keys, profile, assume-role, endpoint) as the client of a rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from node_rotation.clients import aws_models
from node_rotation.clients.aws import AwsCloud
from node_rotation.clients.aws_errors import translated
from node_rotation_airflow.hooks.missing import NoConnectionError

if TYPE_CHECKING:
    import boto3
    from airflow.sdk import Connection
    from botocore.config import Config


class AwsCloudHook(AwsBaseHook):
    """The account and region of one AWS connection.

    :param aws_conn_id: an Airflow connection of type ``aws``.
    :param region_name: the cluster's region.
    """

    def __init__(self, aws_conn_id: str = "aws_default", region_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(aws_conn_id=aws_conn_id, region_name=region_name, **{"client_type": "ec2", **kwargs})

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        """The connection; only without the default one the provider may take the worker's own identity instead.

        :raises NoConnectionError: if there is none of another name: every call would go to an account nobody meant.
        """
        try:
            return super().get_connection(conn_id)
        except AirflowNotFoundException as error:
            if conn_id == cls.default_conn_name:
                raise
            raise NoConnectionError(conn_id, "aws.connection") from error

    def cloud(self) -> AwsCloud:
        """The client; assumed roles refresh themselves as long as it lives.

        :raises RotationError: as :meth:`session`.
        """
        return AwsCloud(self.session())

    def session(self) -> boto3.Session:
        """A session whose clients are what the connection says; only its ``client`` and region may be used.

        :raises RotationError: if there is no such connection, or STS gives no role.
        """
        return cast("boto3.Session", _ConnectionSession(self))


class _ConnectionSession:
    """A boto3 session that also carries what else the connection says: endpoint, certificates, configuration."""

    def __init__(self, hook: AwsCloudHook) -> None:
        self._hook = hook
        with translated("sts", "AssumeRole", f"connection {hook.aws_conn_id}"):  # at once, if there is a role in it
            self._session = aws_models.share(hook.get_session(region_name=hook.region_name))

    @property
    def region_name(self) -> str | None:
        """As boto3's session has it."""
        return cast("str | None", self._session.region_name)

    def client(self, service: str, config: Config | None = None) -> Any:
        """Make a client; what the rotation asks for goes over the connection's own configuration."""
        own = self._hook.config
        return self._session.client(
            service_name=service,  # type: ignore[call-overload]
            config=own.merge(config) if own and config else config or own,
            endpoint_url=self._hook.conn_config.get_service_endpoint_url(service),
            verify=self._hook.verify,
        )
