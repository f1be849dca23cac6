"""IoT Core's data plane: the devices' connections."""

from typing import Protocol

from botocore.exceptions import ClientError

from secretfree.adapters.aws_errors import aws_call, error_code


class DataPlane(Protocol):
    """The one call of the `iot-data` client."""

    def delete_connection(self, *, clientId: str, cleanSession: bool, preventWillMessage: bool) -> object:  # noqa: N803
        """DeleteConnection."""
        ...


class IotConnections:
    """Port `Connections`."""

    def __init__(self, client: DataPlane) -> None:
        self._client = client

    def end(self, client_id: str) -> bool:
        """DeleteConnection. The session ends with the connection, and the last will is not published for it."""
        with aws_call():
            try:
                self._client.delete_connection(clientId=client_id, cleanSession=True, preventWillMessage=True)
            except ClientError as error:
                if error_code(error) != "ResourceNotFoundException":
                    raise
                return False
        return True
