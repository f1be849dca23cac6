"""`secretfree check-csr`: checks with the runtime's own code whether it accepts a certificate signing request."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import click
from secretfree.errors import SecretFreeError
from secretfree.request.csr import MAX_HEADER_CHARACTERS, UnverifiedCsr, check, parse_header_value, request_der, verify
from secretfree.request.device_profile import PROFILES, DeviceProfile

from secretfree_cli.command_line import command
from secretfree_cli.output import CliError, ExitCode, emit_fields, emit_json, json_option

_MOST_BYTES = 1_000_000


@command("check-csr")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path), metavar="FILE|-")
@click.option(
    "--device-profile",
    type=click.Choice(list(PROFILES)),
    default=DeviceProfile.STANDARD.value,
    show_default=True,
    help="Profile of the product line.",
)
@json_option
def check_csr(*, file: Path, device_profile: str, as_json: bool) -> None:
    """Check whether the runtime accepts a certificate signing request, and name the element that fails.

    FILE is PEM, DER, or the base64 text of a `device-csr` header. The command makes no call: it does not check whether
    the device is enrolled. Exit code: 0 the request passes, 5 it is refused.
    """
    data = _content(file)
    profile = PROFILES[device_profile]
    header_length = len(data.strip()) if _is_header_value(data) else len(base64.b64encode(data))
    document: dict[str, object] = {
        "passes": False,
        "deviceProfile": profile.value,
        "headerCharacters": header_length,
    }
    try:
        request = parse_header_value(data.decode("ascii").strip()) if _is_header_value(data) else data
    except SecretFreeError as error:
        document |= {"element": "header", "reason": error.reason.value, "detail": error.detail}
    else:
        document |= _checked(request, profile)
        if document["passes"] and header_length > MAX_HEADER_CHARACTERS:
            detail = f"{header_length} characters of base64; accepted: at most {MAX_HEADER_CHARACTERS}"
            document |= {"passes": False, "element": "header", "reason": "oversized", "detail": detail}
    if as_json:
        emit_json(document)
    else:
        _emit(document)
    sys.exit(ExitCode.OK if document["passes"] else ExitCode.REFUSED)


def _checked(request: bytes, profile: DeviceProfile) -> dict[str, object]:
    fault = check(request, profile)
    if fault is not None:
        return {
            "element": fault.element.value,
            "reason": fault.reason.value,
            "code": fault.code.value,
            "detail": fault.detail,
        }
    verified = verify(UnverifiedCsr(request_der(request)), profile)
    return {
        "passes": True,
        "commonName": verified.common_name,
        "deviceId": verified.device_id,
        "keyKind": verified.public_key.kind.value,
        "keyFingerprint": verified.public_key.fingerprint,
    }


def _emit(document: dict[str, object]) -> None:
    shown = {name: value for name, value in document.items() if name not in {"passes", "code"}}
    emit_fields({"result": "passes" if document["passes"] else "refused", **shown})
    if document["passes"] and document["deviceId"] is None:
        emit_fields({"note": "the common name is not a device id: only match policy PUBLIC_KEY accepts such a request"})


def _is_header_value(data: bytes) -> bool:
    """Whether the file has the content of a device's header: text other than PEM."""
    return data.isascii() and b"-----" not in data


def _content(file: Path) -> bytes:
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(_MOST_BYTES)
        with file.open("rb") as stream:
            return stream.read(_MOST_BYTES)
    except OSError as error:
        raise CliError(f"{file} cannot be read: {error.strerror or error}") from error
