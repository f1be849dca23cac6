"""The code of functions in the local cloud: unpacked once, and seen whole by each process."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from secretfree_cli.local.emulators.aws_function_code import SharedCode


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


def archive(path: Path, **files: str) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, text in files.items():
            made.writestr(name.replace("__", "/").replace("_py", ".py"), text)
    return path


def unpacked(source: Path, folder: Path) -> Path:
    folder.mkdir()
    with SharedCode(source) as opened:
        opened.extractall(folder)
    return folder


def test_each_process_sees_the_same_files_which_are_there_once(tmp_path: Path) -> None:
    source = archive(tmp_path / "code.zip", package__handler_py="ANSWER = 42\n", top_py="")
    first, second = unpacked(source, tmp_path / "first"), unpacked(source, tmp_path / "second")
    for folder in (first, second):
        assert (folder / "package" / "handler.py").read_text() == "ANSWER = 42\n"
        assert (folder / "top.py").is_file()
    assert (first / "package" / "handler.py").samefile(second / "package" / "handler.py")
    shown = subprocess.run(
        [sys.executable, "-c", "import package.handler as h; print(h.ANSWER, h.__file__)"],
        cwd=second,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == ["42", str(second / "package" / "handler.py")]


def test_other_code_is_other_files(tmp_path: Path) -> None:
    old = unpacked(archive(tmp_path / "code.zip", handler_py="1"), tmp_path / "old")
    new = unpacked(archive(tmp_path / "code.zip", handler_py="2"), tmp_path / "new")
    assert [(folder / "handler.py").read_text() for folder in (old, new)] == ["1", "2"]


def test_code_that_cannot_be_unpacked_leaves_nothing_that_another_process_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = archive(tmp_path / "code.zip", handler_py="1")

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(zipfile.ZipFile, "extractall", fail)
        with pytest.raises(OSError, match="no space"):
            unpacked(source, tmp_path / "first")

    assert (unpacked(source, tmp_path / "second") / "handler.py").read_text() == "1"


def test_code_that_the_emulator_writes_into_is_a_process_s_own(tmp_path: Path) -> None:
    source = archive(tmp_path / "code.zip", node_modules__own__index="")
    first, second = unpacked(source, tmp_path / "first"), unpacked(source, tmp_path / "second")
    assert not (first / "node_modules").is_symlink()
    assert not (first / "node_modules" / "own" / "index").samefile(second / "node_modules" / "own" / "index")


def test_the_emulator_unpacks_so(tmp_path: Path) -> None:
    code = (
        "from secretfree_cli.local.emulators import aws_function_code\n"
        "aws_function_code.install()\n"
        "from ministack.core import lambda_runtime\n"
        "print(lambda_runtime.zipfile.ZipFile.__name__, lambda_runtime.zipfile.BadZipFile.__name__)\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["SharedCode", "BadZipFile"]
