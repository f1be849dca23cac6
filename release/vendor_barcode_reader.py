"""Put the barcode reader of the scanning page into the package: zxing-wasm (zxing-cpp as WebAssembly), from npm.

`make barcode-reader` runs it. The integrity below pins the archive. For another version, change both constants.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

NAME = "zxing-wasm"
VERSION = "3.1.4"
INTEGRITY = "sha512-1+v8p7sauddySVNG+ye7GD/0TS95BG2ycdkrC+EnBrFBFkHeIghzUt2yVjtx3NucJeNrQnhT8yGAIz60Vx9o0w=="
FILES: Mapping[str, str] = {
    "zxing_reader.js": "package/dist/iife/reader/index.js",
    "zxing_reader.wasm": "package/dist/reader/zxing_reader.wasm",
    "zxing-wasm.LICENSE": "package/LICENSE",
}
REPOSITORY = Path(__file__).resolve().parents[1]
TARGET = REPOSITORY / "cli" / "secretfree_cli" / "factory" / "phone" / "barcode_reader"
MANIFEST = "component.json"


def main() -> int:
    """Fetch, verify and unpack; return 0."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, f"{NAME}@{VERSION}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (archive,) = (path.read_bytes() for path in Path(folder).iterdir())
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if found != INTEGRITY:
        print(f"{NAME} {VERSION} has the integrity {found}, not {INTEGRITY}", file=sys.stderr)
        return 1
    write(archive)
    return 0


def write(archive: bytes) -> None:
    """Write the files of the archive, their licences and the manifest with their digests."""
    TARGET.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as package:
        contents = {name: _member(package, member) for name, member in FILES.items()}
    contents["zxing_reader.js"] = without_remote_default(contents["zxing_reader.js"])
    contents["zxing-cpp.LICENSE"] = (REPOSITORY / "LICENSE").read_bytes()  # Apache-2.0 too
    for name, content in contents.items():
        (TARGET / name).write_bytes(content)
    manifest = {
        "name": NAME,
        "version": VERSION,
        "license": "MIT AND Apache-2.0",
        "integrity": INTEGRITY,
        "changes": "zxing_reader.js loads zxing_reader.wasm from its own server by default",
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(contents.items())},
    }
    (TARGET / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def without_remote_default(script: bytes) -> bytes:
    """Return the script without its default address of the WebAssembly."""
    before, address, after = script.partition(b"`https://")
    _, end, rest = after.partition(b"/${e}`")
    if not (address and end) or b"https://" in rest:
        raise SystemExit(f"{NAME} {VERSION} names its addresses in another way: read it and adapt this function")
    return before + b"`/${e}`" + rest


def _member(package: tarfile.TarFile, name: str) -> bytes:
    member = package.extractfile(name)
    if member is None:
        raise SystemExit(f"{NAME} {VERSION} has no file {name}")
    return member.read()


if __name__ == "__main__":
    sys.exit(main())
