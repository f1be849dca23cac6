"""Trims botocore's data in the bundle to the models of the services that the runtime calls, without documentation.

botocore reads its data at each cold start. The full list of endpoints takes longer to parse than all other data.
"""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

AWS_SERVICES: Final = frozenset({"acm-pca", "dynamodb", "iot", "iot-data", "lambda", "s3", "sqs", "sts"})
"""The services that the runtime calls, by botocore's names."""
_ENDPOINTS: Final = (AWS_SERVICES - {"iot-data"}) | {"data-ats.iot"}
"""The same services by their names in botocore's list of endpoints."""


def reduce_to_called_services(directory: Path) -> None:
    """Keep of the `botocore` package below `directory` only what its clients for `AWS_SERVICES` read.

    This removes the other services' models and endpoints, and the documentation in the models. Requests and answers
    stay the same.
    """
    data = directory / "botocore" / "data"
    for model in data.glob("*/"):
        if model.is_dir() and model.name not in AWS_SERVICES:
            shutil.rmtree(model)
    for pattern in ("*/*/service-2.json", "*/*/service-2.json.gz"):
        for file in data.glob(pattern):
            _rewrite(file, _without_documentation)
    for name in ("endpoints.json", "endpoints.json.gz"):
        if (data / name).is_file():
            _rewrite(data / name, _endpoints_of_called_services)


def _rewrite(file: Path, change: Callable[[Any], Any]) -> None:
    compressed = file.suffix == ".gz"
    content = gzip.decompress(file.read_bytes()) if compressed else file.read_bytes()
    changed = json.dumps(change(json.loads(content)), separators=(",", ":")).encode()
    file.write_bytes(_packed(changed) if compressed else changed)


def _without_documentation(model: Any) -> Any:
    """The service model without the documentation of its operations, shapes and their members.

    The documentation of a client's context parameters stays: botocore requires it.
    """
    return {name: _pruned(value) if name in {"operations", "shapes"} else value for name, value in model.items()}


def _pruned(part: Any) -> Any:
    """Drop each text under the name `documentation`. A shape or a member of that name is no text, so it stays."""
    if isinstance(part, dict):
        return {
            name: _pruned(value)
            for name, value in part.items()
            if not (name == "documentation" and isinstance(value, str))
        }
    if isinstance(part, list):
        return [_pruned(entry) for entry in part]
    return part


def _endpoints_of_called_services(endpoints: Any) -> Any:
    for partition in endpoints["partitions"]:
        services = partition["services"]
        partition["services"] = {name: services[name] for name in services if name in _ENDPOINTS}
    return endpoints


def _packed(content: bytes) -> bytes:
    """Return gzip without what differs between Pythons: byte 9, the operating system (RFC 1952)."""
    packed = bytearray(gzip.compress(content, mtime=0))
    packed[9] = 255  # unknown
    return bytes(packed)
