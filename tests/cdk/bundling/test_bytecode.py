"""The bytecode of the bundle: whose it is, that Python takes it, and that equal sources give equal bytes."""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_lambda as lambda_
from aws_cdk.assertions import Annotations, Match
from cdk_iot_secretfree import Bundle, BundleTarget, BundlingError
from cdk_iot_secretfree.bundling import bundle, bytecode

MODULE = "import json\n\n\ndef handler(event, _context):\n    return json.dumps({'a': event in {'x', 'y', 'z'}})\n"
# Prints what import took a module from: with a changed source, the bytecode's own answer shows that none was compared.
IMPORT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import wheel
from secretfree.handlers import issuer
print(json.dumps({"version": wheel.VERSION, "cached": issuer.__spec__.cached, "file": issuer.__file__,
                  "code": issuer.handler.__code__.co_filename}))
"""
INTERPRETER = """#!/bin/sh
printf '%s\\n' "$0" {implementation} {level} {release}
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    package = tmp_path / "site" / "secretfree"
    (package / "handlers").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "handlers" / "__init__.py").write_text("")
    (package / "handlers" / "issuer.py").write_text(MODULE)
    (package / "policy.json").write_text("{}")
    monkeypatch.setattr(bundle, "runtime_source", lambda: package)
    return package


@pytest.fixture(autouse=True)
def wheels(tmp_path, monkeypatch):
    """Wheels that need no registry; one file of them is no Python 3."""

    def install(_bundle, directory):
        (directory / "wheel").mkdir(parents=True)
        (directory / "wheel" / "__init__.py").write_text("VERSION = 1\n")
        (directory / "wheel" / "template.py").write_text("print 'old'\n")
        (directory / "botocore" / "data").mkdir(parents=True)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(Bundle, "_install", install)


def written(directory, target=BundleTarget.HOST):
    directory.mkdir()
    Bundle(target=target).write(directory)
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def bytecode_of(name):
    return importlib.util.cache_from_source(name)


def test_each_module_has_bytecode_that_no_source_is_compared_with(source, tmp_path):
    files = written(tmp_path / "out")
    compiled = {name for name in files if name.endswith(".pyc")}
    assert compiled == {bytecode_of(name) for name in files if name.endswith(".py") and name != "wheel/template.py"}
    for name in compiled:
        assert files[name][:4] == importlib.util.MAGIC_NUMBER
        assert int.from_bytes(files[name][4:8], "little") == 0b01, "hash-based and unchecked"
        of = files[f"{Path(name).parent.parent.as_posix()}/{Path(name).name.split('.')[0]}.py"]
        assert files[name][8:16] == importlib.util.source_hash(of)


def test_python_imports_it_from_a_folder_that_it_may_not_write(source, tmp_path):
    out = tmp_path / "out"
    before = written(out)
    # A source that says otherwise shows that the bytecode was run.
    (out / "wheel" / "__init__.py").write_text("VERSION = 2\n")
    for folder in [out, *out.rglob("*/")]:
        folder.chmod(0o555)
    finished = subprocess.run(
        [sys.executable, "-I", "-S", "-c", IMPORT, str(out)], capture_output=True, text=True, check=True
    )
    told = json.loads(finished.stdout)
    assert told["version"] == 1
    assert told["cached"] == str(out / bytecode_of("secretfree/handlers/issuer.py"))
    assert told["code"] == told["file"] == str(out / "secretfree/handlers/issuer.py")
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == set(before)


def test_two_builds_are_equal_byte_by_byte(source, tmp_path, monkeypatch):
    shutil.copytree(source.parent, tmp_path / "elsewhere")
    first = written(tmp_path / "one")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other" / "handlers" / "json"))
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setattr(bundle, "runtime_source", lambda: tmp_path / "elsewhere" / "secretfree")
    assert written(tmp_path / "two") == first


def test_a_changed_source_is_compiled_anew(source, tmp_path):
    first = written(tmp_path / "one")
    (source / "handlers" / "issuer.py").write_text(MODULE.replace("'a'", "'b'"))
    second = written(tmp_path / "two")
    changed = {name for name in second if second[name] != first[name]}
    assert changed == {"secretfree/handlers/issuer.py", bytecode_of("secretfree/handlers/issuer.py")}


def test_a_compiler_that_fails_ends_the_synth(source, tmp_path, monkeypatch):
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho no memory >&2\nexit 3\n")
    failing.chmod(0o755)
    monkeypatch.setattr(bundle, "running_compiler", lambda: bytecode.Compiler(str(failing), "3.13.5"))
    with pytest.raises(BundlingError, match="could not compile the bundle:\nno memory"):
        written(tmp_path / "out")


class TestAsset:
    @staticmethod
    def synthesised(tmp_path, name, **context):
        app = App(outdir=str(tmp_path / name), context=context)
        stack = Stack(app, "Stack")
        for function in ("A", "B"):
            lambda_.Function(
                stack, function, runtime=lambda_.Runtime.PYTHON_3_13, handler="h", code=Bundle().code(stack)
            )
        app.synth()
        warnings = Annotations.from_stack(stack).find_warning("*", Match.any_value())
        (asset,) = (tmp_path / name).glob("asset.*")
        return asset, [str(warning.entry.data) for warning in warnings]

    @staticmethod
    def digest(asset):
        names = sorted(path for path in asset.rglob("*") if path.is_file())
        return hashlib.sha256(b"".join(str(name.relative_to(asset)).encode() + name.read_bytes() for name in names))

    def test_without_the_lambdas_python_a_warning_says_what_it_costs(self, source, tmp_path, monkeypatch):
        monkeypatch.setattr(bundle, "find_compiler", lambda _version: None)
        asset, warnings = self.synthesised(tmp_path, "out")
        assert list(asset.rglob("*.pyc")) == []
        (warning,) = warnings
        assert "No CPython 3.13" in warning
        assert "uv python install 3.13" in warning

    def test_the_hash_names_the_bytes(self, source, tmp_path, monkeypatch):
        """Another hash with bytecode than without, and the same for equal bytes, whichever interpreter wrote them."""
        monkeypatch.setattr(bundle, "find_compiler", lambda _version: None)
        without, _ = self.synthesised(tmp_path, "without")
        running = bytecode.running_compiler()
        monkeypatch.setattr(bundle, "find_compiler", lambda _version: running)
        one, warnings = self.synthesised(tmp_path, "one")
        assert warnings == []
        other = bytecode.Compiler(running.executable, f"{running.release}1")
        monkeypatch.setattr(bundle, "find_compiler", lambda _version: other)
        two, _ = self.synthesised(tmp_path, "two")
        assert without.name != one.name == two.name
        assert self.digest(one).digest() == self.digest(two).digest()

    def test_the_local_cloud_s_functions_have_the_bytecode_of_this_python(self, source, tmp_path):
        asset, _ = self.synthesised(tmp_path, "out", **{"secretfree:local": "true"})
        assert (asset / bytecode_of("secretfree/handlers/issuer.py")).is_file()


class TestSearch:
    @pytest.fixture(autouse=True)
    def machine(self, tmp_path, monkeypatch):
        """A machine whose only interpreters are those that a test puts there."""
        bytecode.find_compiler.cache_clear()
        (tmp_path / "bin").mkdir()
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.defpath}")
        monkeypatch.setattr(bytecode, "find_uv", lambda: None)
        yield tmp_path / "bin"
        bytecode.find_compiler.cache_clear()

    @staticmethod
    def put(path, *, implementation="cpython", level="final", release="3.99.2"):
        path.write_text(INTERPRETER.format(implementation=implementation, level=level, release=release))
        path.chmod(0o755)

    def test_the_running_one_if_it_has_the_version(self):
        version = ".".join(map(str, sys.version_info[:2]))
        assert bytecode.find_compiler(version) == bytecode.running_compiler()

    def test_one_on_the_path(self, machine):
        self.put(machine / "python3.99")
        assert bytecode.find_compiler("3.99") == bytecode.Compiler(str(machine / "python3.99"), "3.99.2")

    def test_one_of_uv(self, machine, monkeypatch):
        (machine / "uv").write_text(f"#!/bin/sh\necho {machine}/managed\n")
        (machine / "uv").chmod(0o755)
        monkeypatch.setattr(bytecode, "find_uv", lambda: str(machine / "uv"))
        self.put(machine / "managed")
        assert bytecode.find_compiler("3.99") == bytecode.Compiler(str(machine / "managed"), "3.99.2")

    def test_uv_starts_no_interpreter_that_it_did_not_install(self, machine, monkeypatch):
        (machine / "uv").write_text('#!/bin/sh\n[ "$UV_PYTHON_PREFERENCE" = only-managed ] || echo /elsewhere/python\n')
        (machine / "uv").chmod(0o755)
        monkeypatch.setattr(bytecode, "find_uv", lambda: str(machine / "uv"))
        assert list(bytecode._candidates("3.99")) == []

    @pytest.mark.parametrize(
        "other", [{"implementation": "pypy"}, {"level": "candidate"}, {"release": "3.98.2"}, {"release": "3.990.1"}]
    )
    def test_none_whose_bytecode_lambda_would_not_take(self, machine, other):
        self.put(machine / "python3.99", **other)
        assert bytecode.find_compiler("3.99") is None

    def test_none_that_does_not_start(self, machine):
        (machine / "python3.99").write_text("#!/bin/sh\necho command not found >&2\nexit 127\n")
        (machine / "python3.99").chmod(0o755)
        assert bytecode.find_compiler("3.99") is None
