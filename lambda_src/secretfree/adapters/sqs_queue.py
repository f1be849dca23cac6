"""The queue on SQS: the front sends messages, and the worker delays them."""

from typing import TYPE_CHECKING

from secretfree.adapters.aws_errors import aws_call
from secretfree.issuance.queueing import QueuedRequest

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class SqsRequestQueue:
    """Port `RequestQueue`, and what the worker needs beside Lambda's own poller."""

    def __init__(self, client: "SQSClient", *, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, request: QueuedRequest) -> None:
        """SendMessage."""
        with aws_call():
            self._client.send_message(QueueUrl=self._url, MessageBody=request.to_message())

    def postpone(self, receipt_handle: str, seconds: int) -> None:
        """ChangeMessageVisibility: a message that is not acknowledged comes back after `seconds` (at most 12 h)."""
        with aws_call():
            self._client.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=receipt_handle, VisibilityTimeout=seconds
            )
