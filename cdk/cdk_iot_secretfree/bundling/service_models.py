"""Trims botocore's data in the bundle to the operations that the runtime calls, without documentation.

botocore reads its data at each cold start, and makes a method for each operation of a client. The full list of
endpoints takes longer to parse than all other data.
"""

import gzip
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

CALLED_OPERATIONS: Final[Mapping[str, frozenset[str]]] = {
    "acm-pca": frozenset(
        {
            "DescribeCertificateAuthority",
            "GetCertificate",
            "GetCertificateAuthorityCertificate",
            "IssueCertificate",
            "RevokeCertificate",
        }
    ),
    "dynamodb": frozenset(
        {
            "BatchGetItem",
            "BatchWriteItem",
            "DeleteItem",
            "DescribeTable",
            "GetItem",
            "PutItem",
            "Query",
            "Scan",
            "TransactWriteItems",
            "UpdateItem",
        }
    ),
    "iot": frozenset(
        {
            "AddThingToThingGroup",
            "AttachPolicy",
            "AttachThingPrincipal",
            "CreateCertificateFromCsr",
            "CreateThing",
            "DeleteCACertificate",
            "DeleteCertificate",
            "DeleteThing",
            "DescribeCACertificate",
            "DescribeCertificate",
            "DescribeEndpoint",
            "DescribeThing",
            "DetachPolicy",
            "DetachThingPrincipal",
            "GetRegistrationCode",
            "ListAttachedPolicies",
            "ListCertificates",
            "ListTagsForResource",
            "RegisterCACertificate",
            "RegisterCertificate",
            "RegisterCertificateWithoutCA",
            "UpdateCACertificate",
            "UpdateCertificate",
        }
    ),
    "iot-data": frozenset({"DeleteConnection"}),
    "lambda": frozenset({"Invoke"}),
    # botocore itself calls HeadBucket for a bucket that is in another Region.
    "s3": frozenset({"GetObject", "HeadBucket", "HeadObject", "PutObject"}),
    "sqs": frozenset({"SendMessage"}),
    # botocore itself calls it for credentials of a role.
    "sts": frozenset({"AssumeRole", "AssumeRoleWithWebIdentity"}),
}
"""The operations that the runtime calls, by botocore's names of services and operations."""

AWS_SERVICES: Final = frozenset(CALLED_OPERATIONS)
"""The services that the runtime calls, by botocore's names."""
_ENDPOINTS: Final = (AWS_SERVICES - {"iot-data"}) | {"data-ats.iot"}
"""The same services by their names in botocore's list of endpoints."""


def reduce_to_called_operations(directory: Path) -> None:
    """Keep of the `botocore` package below `directory` only what calls of `CALLED_OPERATIONS` read.

    This removes the models and endpoints of other services, the other operations and their shapes, and the
    documentation in the models. Requests and answers stay the same.
    """
    data = directory / "botocore" / "data"
    for model in data.glob("*/"):
        if model.is_dir() and model.name not in AWS_SERVICES:
            shutil.rmtree(model)
    for service, called in CALLED_OPERATIONS.items():
        for file in data.glob(f"{service}/*/service-2.json*"):
            _rewrite(file, partial(_reduced_model, called=called))
    for name in ("endpoints.json", "endpoints.json.gz"):
        if (data / name).is_file():
            _rewrite(data / name, _endpoints_of_called_services)


def _rewrite(file: Path, change: Callable[[Any], Any]) -> None:
    compressed = file.suffix == ".gz"
    content = gzip.decompress(file.read_bytes()) if compressed else file.read_bytes()
    changed = json.dumps(change(json.loads(content)), separators=(",", ":")).encode()
    file.write_bytes(_packed(changed) if compressed else changed)


def _reduced_model(model: Any, *, called: frozenset[str]) -> Any:
    """The service model with the operations `called` and the shapes that they need, without documentation.

    The shapes of all errors stay, because a service may answer with an error that its model does not list for the
    operation. The documentation of a client's context parameters stays: botocore requires it.
    """
    operations = {name: operation for name, operation in model["operations"].items() if name in called}
    errors = [name for name, shape in model["shapes"].items() if shape.get("exception")]
    needed = _with_members({*_shapes_of(operations), *errors}, model["shapes"])
    shapes = {name: shape for name, shape in model["shapes"].items() if name in needed}
    return {**model, "operations": _pruned(operations), "shapes": _pruned(shapes)}


def _with_members(names: set[str], shapes: Mapping[str, Any]) -> set[str]:
    """The names, and those of all shapes that these shapes have as members, at any depth."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _shapes_of(shapes[name])
    return found


def _shapes_of(part: Any) -> Iterator[str]:
    """The names of the shapes that a part of a model refers to."""
    if isinstance(part, dict):
        if isinstance(part.get("shape"), str):
            yield part["shape"]
        for value in part.values():
            yield from _shapes_of(value)
    elif isinstance(part, list):
        for entry in part:
            yield from _shapes_of(entry)


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
