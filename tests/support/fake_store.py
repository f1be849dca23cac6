"""The registry of a fake cloud, as the operator's commands read and write it."""

from collections.abc import Collection
from dataclasses import dataclass

from secretfree.adapters.dynamodb.registry_items import device_item, read_device
from secretfree.registry.device import EnrolledDevice
from secretfree.registry.store import ChangedMeanwhile
from support.fake_cloud import FakeCloud


@dataclass
class FakeStore:
    """The part of `RegistryStore` that retiring uses. Each write is a call that may fail."""

    cloud: FakeCloud

    def read(self, device_ids: Collection[str]) -> dict[str, EnrolledDevice]:
        registry = self.cloud.registry
        return {one: read_device(registry[one]) for one in device_ids if one in registry}

    def put_over(self, device: EnrolledDevice, previous: EnrolledDevice) -> None:
        def put() -> None:
            if self.cloud.registry.get(previous.device_id) != previous.stored:
                raise ChangedMeanwhile(previous.device_id)
            self.cloud.registry[device.device_id] = device_item(device)

        self.cloud.call("PutItem", put)

    def put_new(self, device: EnrolledDevice) -> None:
        self.cloud.call("PutItem", lambda: self.cloud.registry.update({device.device_id: device_item(device)}))
