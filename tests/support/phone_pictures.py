"""Take the pictures of the scanning page in the guide: ready, OK and FAIL, at the width of a phone."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
import zxingcpp
from cryptography.hazmat.primitives.asymmetric import ec
from moto import mock_aws
from secretfree.request.keys import DevicePublicKey
from support.browser import browser
from support.camera_film import write_film
from support.driven_browser import driven
from support.phone_bench import make_registry, running_bench

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "guides"
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
# A label each, so that the answer stays.
_SCENES = {"phone-ok.png": ("ok", "pump-0017"), "phone-fail.png": ("fail", "pump-0099")}


def main() -> int:
    """Write the pictures into the folder of the guides."""
    executable = browser()
    if executable is None:
        print("a browser is needed", file=sys.stderr)
        return 1
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.chdir(folder)
        make_registry()
        key = DevicePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key())
        Path("reel.csv").write_text(f"device-id,public-key\npump-0017,{key.registry_text()}\n")
        for name, (state, label) in _SCENES.items():
            _take(executable, patch, name, state, label)
    return 0


def _take(executable: str, patch: pytest.MonkeyPatch, name: str, state: str, label: str) -> None:
    film = Path("film.y4m").resolve()
    write_film(film, [(zxingcpp.BarcodeFormat.DataMatrix, label)])
    options = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
        "--ignore-certificate-errors",
        "--hide-scrollbars",
    ]
    # One more device than the film has; the phone types it at the end, so that the command ends.
    with (
        running_bench(patch, "--keys", "reel.csv", "--dry-run", "--count", "1") as bench,
        driven(executable, options) as tab,
    ):
        tab.call("Page.enable")
        tab.call("Emulation.setDeviceMetricsOverride", **PHONE)
        tab.call("Page.navigate", url=bench.link)
        tab.wait_for("document.readyState === 'complete' && !document.getElementById('paired')?.hidden")
        if state == "ok":
            (FOLDER / "phone-idle.png").write_bytes(tab.picture())
        tab.value_of("document.getElementById('start').click()")
        tab.wait_for(f"document.getElementById('verdict').dataset.state === '{state}'")
        (FOLDER / name).write_bytes(tab.picture())
        if state == "fail":
            tab.value_of("document.getElementById('code').value = 'pump-0017'; document.getElementById('send').click()")
        bench.result()


if __name__ == "__main__":
    sys.exit(main())
