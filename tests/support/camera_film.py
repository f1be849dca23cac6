"""Films of labels for a browser's fake camera, as uncompressed YUV4MPEG2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import zxingcpp
from PIL import Image, ImageDraw

_SIZE = (640, 480)
_FRAMES_A_SECOND = 5
_LABEL_FRAMES = 10
_EMPTY_FRAMES = 6
_PAPER = 235
_BENCH = 120


def write_film(path: Path, labels: Sequence[tuple[zxingcpp.BarcodeFormat, str]]) -> None:
    """Write a film in which each label is in view for two seconds, with an empty bench between."""
    width, height = _SIZE
    chroma = bytes([128]) * (width * height // 2)
    with path.open("wb") as film:
        film.write(f"YUV4MPEG2 W{width} H{height} F{_FRAMES_A_SECOND}:1 Ip A1:1 C420jpeg\n".encode())
        empty = Image.new("L", _SIZE, _BENCH).tobytes()
        for kind, text in labels:
            film.write((b"FRAME\n" + empty + chroma) * _EMPTY_FRAMES)
            film.write((b"FRAME\n" + _label(kind, text).tobytes() + chroma) * _LABEL_FRAMES)


def _label(kind: zxingcpp.BarcodeFormat, text: str) -> Image.Image:
    """A label on a grey bench, in the square that the page reads."""
    drawn = Image.fromarray(zxingcpp.write_barcode_to_image(zxingcpp.create_barcode(text, kind), scale=1))
    linear = drawn.height < drawn.width / 3 or drawn.height < 5
    scale = max(1, (400 if linear else 220) // drawn.width)
    height = 120 if linear else drawn.height * scale
    drawn = drawn.resize((drawn.width * scale, height), Image.Resampling.NEAREST)
    scene = Image.new("L", _SIZE, _BENCH)
    left, top = (_SIZE[0] - drawn.width) // 2, (_SIZE[1] - drawn.height) // 2
    paper = [left - 20, top - 20, left + drawn.width + 20, top + drawn.height + 20]
    ImageDraw.Draw(scene).rectangle(paper, fill=_PAPER)
    scene.paste(drawn.point(lambda value: min(value, _PAPER)), (left, top))
    return scene
