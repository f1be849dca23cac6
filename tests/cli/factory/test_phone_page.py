"""The scanning page: in a real browser with a filmed label, and what can be read from its files."""

from __future__ import annotations

import hashlib
import json
import re
from importlib import resources
from pathlib import Path

import pytest
import zxingcpp
from cryptography.hazmat.primitives.asymmetric import ec
from secretfree.request.keys import DevicePublicKey
from secretfree_cli.factory.phone.page_files import page_files
from support.browser import BROWSERS, browser
from support.camera_film import write_film
from support.driven_browser import Tab, driven
from support.phone_bench import RunningBench, enrolled, make_registry, running_bench

PACKAGE = resources.files("secretfree_cli.factory.phone")
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
HOSTILE = "<img src=x onerror=document.title='broken'>"
# Before the page's own script: what it shows, rings and shakes, and what the policy forbids.
WITNESS = """
window.seen = []; window.tones = []; window.shakes = []; window.violations = [];
addEventListener("securitypolicyviolation", event => violations.push(event.violatedDirective));
Navigator.prototype.vibrate = pattern => shakes.push(JSON.stringify(pattern));
OscillatorNode.prototype.played = OscillatorNode.prototype.start;
OscillatorNode.prototype.start = function (when) { tones.push(this.frequency.value); this.played(when); };
addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
  const text = id => document.getElementById(id).textContent;
  seen.push([document.getElementById("verdict").dataset.state, text("word"), text("device"), text("note")].join("|"));
}).observe(document.getElementById("verdict"), {attributes: true, childList: true, subtree: true}));
"""


@pytest.fixture
def registry(moto_account: None) -> None:
    make_registry()
    keys = [DevicePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key()) for _ in range(4)]
    rows = [f"pump-{number},{key.registry_text()}" for number, key in enumerate(keys, start=1)]
    Path("reel.csv").write_text("\n".join(["device-id,public-key", *rows]))


def opened(tab: Tab, bench: RunningBench) -> None:
    tab.call("Network.enable")
    tab.call("Page.enable")
    tab.call("Emulation.setDeviceMetricsOverride", **PHONE)
    tab.call("Page.addScriptToEvaluateOnNewDocument", source=WITNESS)
    tab.call("Page.navigate", url=bench.link)
    tab.wait_for("!document.getElementById('paired')?.hidden && document.readyState === 'complete'")


@pytest.mark.slow
@pytest.mark.skipif(browser() is None, reason=f"none of {', '.join(BROWSERS)} is on the path")
def test_a_phone_s_camera_reads_labels_and_shows_ok_and_fail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, registry: None
) -> None:
    film = tmp_path / "labels.y4m"
    write_film(
        film,
        [
            (zxingcpp.BarcodeFormat.DataMatrix, "pump-1"),
            (zxingcpp.BarcodeFormat.QRCode, "pump-99"),
            (zxingcpp.BarcodeFormat.Code128, "pump-2"),
        ],
    )
    camera = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
        "--ignore-certificate-errors",
    ]
    with (
        running_bench(monkeypatch, "--keys", "reel.csv", "--count", "3") as bench,
        driven(str(browser()), camera) as tab,
    ):
        opened(tab, bench)
        assert bench.token not in str(tab.value_of("location.href"))
        assert tab.value_of("document.documentElement.scrollWidth <= innerWidth")
        tab.value_of("document.getElementById('start').click()")
        tab.wait_for("seen.some(line => line.startsWith('ok|✓ OK|pump-1|'))")
        tab.wait_for("seen.some(line => line.startsWith('fail|✗ FAIL|pump-99|missing-public-key: no key is known'))")
        tab.wait_for("seen.some(line => line.startsWith('ok|✓ OK|pump-2|enrolled'))")
        assert {"100", "[200,100,200,100,200]"} <= set(tab.value_of("shakes"))
        assert {220, 1320} <= set(tab.value_of("tones"))
        type_code(tab, HOSTILE)
        tab.wait_for("seen.some(line => line.startsWith('fail|') && line.includes('device id'))")
        assert tab.value_of("document.querySelector('#verdict img')") is None
        type_code(tab, "pump-3")
        tab.wait_for("seen.some(line => line.startsWith('ok|✓ OK|pump-3|'))")
        assert tab.value_of("document.title") == "Enrol devices"
        assert tab.value_of("violations") == []
        asked = [one["params"]["request"]["url"] for one in tab.events if one["method"] == "Network.requestWillBeSent"]
        assert asked
        assert {url for url in asked if not url.startswith(f"https://127.0.0.1:{bench.port}/")} == set()
        bench.result()
        assert set(enrolled()) == {"pump-1", "pump-2", "pump-3"}


def type_code(tab: Tab, code: str) -> None:
    tab.wait_for("document.getElementById('word').textContent !== 'Wait'")
    tab.value_of(f"document.getElementById('code').value = {json.dumps(code)}; document.getElementById('send').click()")


def test_the_barcode_reader_is_the_one_that_its_manifest_pins() -> None:
    folder = PACKAGE.joinpath("barcode_reader")
    component = json.loads(folder.joinpath("component.json").read_text())
    contents = {one.name: one.read_bytes() for one in folder.iterdir() if one.name != "component.json"}
    assert {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()} == component["sha256"]
    assert {"zxing-wasm.LICENSE", "zxing-cpp.LICENSE"} <= contents.keys()


def test_no_file_of_the_page_names_another_server() -> None:
    for path, file in page_files().items():
        if not path.endswith(".wasm"):
            assert b"//" not in re.sub(rb"^ *//.*$| // .*$", b"", file.content, flags=re.MULTILINE), path


def test_every_text_stands_out_from_its_ground() -> None:
    style = page_files()["/page.css"].content.decode()
    colours = dict(re.findall(r"--(\w+): #([0-9a-f]{6});", style))
    for ground in ("page", "idle", "ok", "fail", "button"):
        assert contrast(colours["text"], colours[ground]) >= 4.5, ground  # WCAG 2.2, 1.4.3
    for edge in ("line", "focus"):
        assert contrast(colours[edge], colours["page"]) >= 3, edge  # 1.4.11


def test_the_answer_is_said_to_those_who_do_not_see_it_and_every_field_has_a_name() -> None:
    page = page_files()["/"].content.decode()
    assert 'id="verdict" data-state="idle" role="status" aria-live="assertive"' in page
    assert '<label for="code">' in page
    assert "<script>" not in page
    assert " style=" not in page
    assert not re.search(r"\son\w+=", page)
    assert "innerHTML" not in page_files()["/page.js"].content.decode()


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
