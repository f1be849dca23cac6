"""Reads bar and QR codes from pictures with zxing-cpp."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final

import zxingcpp
from PIL import Image
from secretfree.request.parsing import refusing_parser_errors

from secretfree_cli.factory.gs1 import SYMBOLOGIES
from secretfree_cli.output import CliError

MAX_PIXELS: Final = 64_000_000
"""A larger picture is refused before it is read, because a small file may unpack to gigabytes."""


def codes_in_picture(path: Path) -> list[str]:
    """Return every code in the picture, top to bottom; a GS1 code begins with its symbology identifier.

    Any format that Pillow opens (PNG, JPEG, WebP, TIFF, BMP, ...), any symbology that zxing-cpp reads (QR, Data Matrix,
    Code 128, ...).

    Raises: CliError
    """

    def unreadable(error: BaseException) -> CliError:
        return CliError(f"{path}: not a readable picture ({type(error).__name__})")

    with (
        refusing_parser_errors(unreadable, ours=(CliError,)),
        warnings.catch_warnings(action="ignore"),  # A library's warning would appear among the operator's devices.
        Image.open(path) as image,
    ):
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise CliError(f"{path}: {width} x {height} pixels; at most {MAX_PIXELS} in all are accepted")
        found = zxingcpp.read_barcodes(image.convert("L"), text_mode=zxingcpp.TextMode.Plain)
    codes = sorted(
        (code.position.top_left.y, code.position.top_left.x, _marked(code.symbology_identifier) + code.text)
        for code in found
        if code.valid
    )
    if not codes:
        raise CliError(f"{path}: no bar or QR code was found", hint="take a sharper picture from a shorter distance")
    return [text for _, _, text in codes]


def _marked(symbology: str) -> str:
    return symbology if symbology in SYMBOLOGIES else ""
