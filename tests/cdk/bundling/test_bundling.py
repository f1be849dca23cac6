"""The bundle: what goes into it, what names it, how it is cached, and how it fails."""

import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_lambda as lambda_
from cdk_iot_secretfree import Bundle, BundleTarget, BundlingError
from cdk_iot_secretfree.bundling import bundle, bytecode, cache

LOCK = "wheel==1 --hash=sha256:00\n"


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A small runtime package in the place of the real one, on a machine without the Lambda's Python."""
    monkeypatch.setattr(bundle, "find_compiler", lambda _version: None)
    package = tmp_path / "site" / "secretfree"
    (package / "handlers").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "handlers" / "issuer.py").write_text("print('issue')\n")
    monkeypatch.setattr(bundle, "runtime_source", lambda: package)
    return package


@pytest.fixture
def installs(tmp_path, monkeypatch):
    """An installer that leaves what pip leaves, and remembers the commands."""
    commands = []

    system = subprocess.run

    def run(command, env, **options):
        if "--target" not in command:
            return system(command, env=env, **options)
        assert not [name for name in env if name.endswith("_CONSTRAINT")], "constraints may conflict with the lock"
        commands.append(command)
        target = Path(command[command.index("--target") + 1])
        (target / "wheel").mkdir(parents=True)
        (target / "wheel" / "__init__.py").write_text("VERSION = 1\n")
        (target / "wheel" / "__pycache__").mkdir()
        (target / "wheel" / "__pycache__" / "x.pyc").write_bytes(b"\0")
        (target / "botocore" / "data").mkdir(parents=True)
        (target / "botocore" / "data" / "endpoints.json").write_text('{"partitions":[]}')
        for service in ("iot", "ec2"):
            (target / "botocore" / "data" / service).mkdir()
            (target / "botocore" / "data" / service / "service-2.json").write_text("{}")
        (target / "bin").mkdir()
        (target / "bin" / "tool").write_text(f"#!{sys.executable}\n")
        (target / "wheel-1.dist-info").mkdir()
        for name in ("METADATA", "RECORD", "INSTALLER", "REQUESTED"):
            (target / "wheel-1.dist-info" / name).write_text(name)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONSTRAINT", "constraints.txt")
    monkeypatch.setenv("UV_CONSTRAINT", "constraints.txt")
    monkeypatch.setattr(bundle.subprocess, "run", run)
    return commands


def written(bundle, directory):
    directory.mkdir()
    bundle.write(directory)
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


class TestContent:
    def test_the_package_and_the_wheels_without_installer_and_unused_services(self, source, installs, tmp_path):
        (source / "__pycache__").mkdir()
        (source / "__pycache__" / "x.pyc").write_bytes(b"\0")
        assert written(Bundle(), tmp_path / "out") == {
            "secretfree/__init__.py",
            "secretfree/handlers/issuer.py",
            "botocore/data/endpoints.json",
            "botocore/data/iot/service-2.json",
            "wheel/__init__.py",
            "wheel-1.dist-info/METADATA",
        }

    def test_modes_do_not_depend_on_the_umask(self, source, installs, tmp_path):
        (source / "__init__.py").chmod(0o600)
        written(Bundle(), tmp_path / "out")
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").rglob("*") if path.is_file()}
        assert modes == {0o644}

    def test_wheels_are_taken_by_hash_for_the_functions_platform(self, source, installs, tmp_path):
        written(Bundle(architecture=lambda_.Architecture.X86_64), tmp_path / "out")
        (command,) = installs
        text = " ".join(command)
        assert command[:4] == [sys.executable, "-m", "pip", "install"]
        for needed in ("--require-hashes", "--only-binary=:all:", "--no-deps", "--python-version 3.13"):
            assert needed in text
        assert "manylinux_2_34_x86_64" in text
        assert "aarch64" not in text

    @pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
    def test_each_python_that_lambda_runs_is_a_choice_with_its_own_wheels(self, source, installs, tmp_path, version):
        runtime = getattr(lambda_.Runtime, f"PYTHON_{version.replace('.', '_')}", None)
        if runtime is None:
            pytest.skip(f"this aws-cdk-lib has no Python {version} for functions")
        written(Bundle(runtime=runtime), tmp_path / "out")
        (command,) = installs
        assert command[command.index("--python-version") + 1] == version

    def test_for_this_host_wheels_are_those_of_this_python(self, source, installs, tmp_path):
        written(Bundle(target=BundleTarget.HOST), tmp_path / "out")
        assert "--platform" not in installs[0]
        assert "--python-version" not in installs[0]


class TestWithoutPip:
    """Environments made by uv have no pip."""

    @pytest.fixture(autouse=True)
    def no_pip(self, monkeypatch):
        find = bundle.importlib.util.find_spec
        monkeypatch.setattr(bundle.importlib.util, "find_spec", lambda name: None if name == "pip" else find(name))

    @pytest.mark.parametrize("target", list(BundleTarget))
    def test_uv_installs_the_same(self, source, installs, tmp_path, monkeypatch, target):
        monkeypatch.setattr(bundle, "find_uv", lambda: "/tools/uv")
        written(Bundle(target=target), tmp_path / "out")
        text = " ".join(installs[0])
        assert text.startswith("/tools/uv pip install")
        assert "--require-hashes" in text
        assert ("--python-platform aarch64-manylinux_2_34" in text) == (target is BundleTarget.LAMBDA)

    def test_without_uv_too_it_says_what_to_do(self, source, installs, tmp_path, monkeypatch):
        monkeypatch.setattr(bundle, "find_uv", lambda: None)
        with pytest.raises(BundlingError, match=r"Neither pip .* nor uv .*python -m ensurepip"):
            written(Bundle(), tmp_path / "out")

    def test_uv_is_looked_for_beside_python_first(self, tmp_path, monkeypatch):
        (tmp_path / "uv").write_text("")
        monkeypatch.setattr(bytecode.sys, "executable", str(tmp_path / "python"))
        assert bytecode.find_uv() == str(tmp_path / "uv")
        (tmp_path / "uv").unlink()
        monkeypatch.setattr(bytecode.shutil, "which", lambda name: f"/usr/bin/{name}")
        assert bytecode.find_uv() == "/usr/bin/uv"


class TestChangedCache:
    """A file that is changed in the cache reaches no function under the hash of the unchanged ones."""

    @staticmethod
    def asset(tmp_path, number):
        """Hash and content of the asset, as a synth makes it."""
        app = App(outdir=str(tmp_path / f"cdk.out{number}"))
        stack = Stack(app, "Stack")
        runtime = lambda_.Runtime.PYTHON_3_13
        lambda_.Function(stack, "F", runtime=runtime, handler="h", code=Bundle().code(stack))
        app.synth()
        (asset,) = (tmp_path / f"cdk.out{number}").glob("asset.*")
        return asset.name, (asset / "wheel" / "__init__.py").read_text()

    @pytest.fixture
    def cached(self, source, installs, tmp_path):
        """The first synth's asset, and the file of its wheels in the cache."""
        asset = self.asset(tmp_path, 1)
        (file,) = (tmp_path / "cache").rglob("wheels/*/wheels/wheel/__init__.py")
        return asset, file

    def test_what_was_changed_is_installed_anew(self, cached, installs, tmp_path):
        asset, file = cached
        file.write_text("import os\n")
        assert self.asset(tmp_path, 2) == asset
        assert len(installs) == 2
        assert file.read_text() == "VERSION = 1\n"

    @pytest.mark.parametrize("name", ["sitecustomize.py", "wheel/__init__.pyc"])
    def test_what_was_added_is_gone(self, cached, tmp_path, name):
        asset, file = cached
        added = file.parents[1] / name
        added.write_text("import os\n")
        assert self.asset(tmp_path, 2) == asset
        assert not added.exists()

    def test_what_was_changed_together_with_its_digest_changes_the_asset_s_hash(self, cached, tmp_path):
        (before, _), file = cached
        file.write_text("import os\n")
        wheels = file.parents[1]
        (wheels.parent / "sha256").write_text(cache.digest_of_files(cache._files_of_tree(wheels)))
        after, _ = self.asset(tmp_path, 2)
        assert after != before

    def test_what_is_changed_after_the_hash_was_made_ends_the_synth(self, cached, tmp_path, monkeypatch):
        _, file = cached
        copy = cache.write_files

        def changed_meanwhile(*arguments):
            file.write_text("import os\n")
            return copy(*arguments)

        monkeypatch.setattr(cache, "write_files", changed_meanwhile)
        with pytest.raises(RuntimeError, match="changed during this synth"):
            self.asset(tmp_path, 2)

    def test_a_synth_that_bundles_nothing_needs_no_wheels(self, source, installs, tmp_path):
        stack = Stack(App(outdir=str(tmp_path / "out"), context={"aws:cdk:bundling-stacks": []}), "Stack")
        Bundle().code(stack)
        assert installs == []


class TestDigest:
    def test_it_is_the_same_for_a_checkout_and_an_installed_wheel(self, source, tmp_path, monkeypatch):
        in_checkout = Bundle().digest()
        installed = tmp_path / "elsewhere" / "secretfree"
        shutil.copytree(source, installed)
        (installed / "__pycache__").mkdir()
        (installed / "__pycache__" / "issuer.cpython-311.pyc").write_bytes(b"\0")
        monkeypatch.setattr(bundle, "runtime_source", lambda: installed)
        assert Bundle().digest() == in_checkout

    def test_it_changes_with_a_byte_a_name_the_lock_and_the_platform(self, source, tmp_path, monkeypatch):
        digests = [Bundle().digest()]
        digests.append(Bundle(runtime=lambda_.Runtime.PYTHON_3_14).digest())
        digests.append(Bundle(architecture=lambda_.Architecture.X86_64).digest())
        digests.append(Bundle(target=BundleTarget.HOST).digest())
        (source / "handlers" / "issuer.py").write_text("print('other')\n")
        digests.append(Bundle().digest())
        (source / "handlers" / "issuer.py").rename(source / "handlers" / "sweeper.py")
        digests.append(Bundle().digest())
        lock = tmp_path / "runtime.txt"
        lock.write_text(LOCK)
        monkeypatch.setattr(bundle, "RUNTIME_LOCK", lock)
        digests.append(Bundle().digest())
        assert len(set(digests)) == len(digests)


class TestCache:
    def test_a_second_synth_installs_nothing(self, source, installs, tmp_path):
        first = written(Bundle(), tmp_path / "one")
        (source / "handlers" / "issuer.py").write_text("print('changed')\n")
        assert written(Bundle(), tmp_path / "two") == first
        assert len(installs) == 1

    def test_another_platform_has_another_entry(self, source, installs, tmp_path):
        written(Bundle(), tmp_path / "one")
        written(Bundle(architecture=lambda_.Architecture.X86_64), tmp_path / "two")
        assert len(installs) == 2

    def test_a_bundle_is_a_copy_so_the_cache_stays_as_it_is(self, source, installs, tmp_path):
        written(Bundle(), tmp_path / "one")
        (tmp_path / "one" / "wheel" / "__init__.py").write_text("tampered")
        written(Bundle(), tmp_path / "two")
        assert (tmp_path / "two" / "wheel" / "__init__.py").read_text() == "VERSION = 1\n"

    def test_whoever_comes_second_takes_what_the_first_has_made(self, tmp_path):
        for name in ("made", "cached"):
            (tmp_path / name).mkdir()
            (tmp_path / name / name).write_text("")
        cache._rename_unless_there(tmp_path / "made", tmp_path / "cached")
        assert [path.name for path in (tmp_path / "cached").iterdir()] == ["cached"]

    def test_any_other_failure_to_rename_is_raised(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            cache._rename_unless_there(tmp_path / "absent", tmp_path / "cached")

    @pytest.mark.parametrize("configured", ["", "relative/cache"])
    def test_without_an_absolute_xdg_directory_it_is_in_the_home(self, tmp_path, monkeypatch, configured):
        monkeypatch.setenv("XDG_CACHE_HOME", configured)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache.cache_directory() == tmp_path / ".cache" / "cdk-iot-secretfree"


class TestFailure:
    def test_an_unreachable_registry_is_reported_with_the_command_and_leaves_no_cache(
        self, source, tmp_path, monkeypatch
    ):
        def refuse(command, **_options):
            return subprocess.CompletedProcess(command, 1, "", "line\n" * 40 + "ERROR: No matching distribution\n")

        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr(bundle.subprocess, "run", refuse)
        with pytest.raises(BundlingError) as failed:
            written(Bundle(), tmp_path / "out")
        message = str(failed.value)
        assert "exit code 1" in message
        assert "--require-hashes" in message
        assert message.endswith("ERROR: No matching distribution")
        assert message.count("line") == 11
        assert list((tmp_path / "cache" / "cdk-iot-secretfree" / "wheels").iterdir()) == []

    def test_docker_is_never_started_instead(self, source, tmp_path, monkeypatch):
        def refuse(command, **_options):
            return subprocess.CompletedProcess(command, 1, "", "ERROR: no route to host")

        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr(bundle.subprocess, "run", refuse)
        stack = Stack(App(outdir=str(tmp_path / "cdk.out")), "Stack")
        with pytest.raises(RuntimeError, match=r"no route to host"):
            self.function(stack)

    @staticmethod
    def function(stack):
        return lambda_.Function(
            stack, "Function", runtime=lambda_.Runtime.PYTHON_3_13, handler="h", code=Bundle().code(stack)
        )


class TestServices:
    def test_models_are_there_for_every_client_that_the_runtime_makes(self):
        sources = "".join(file.read_text() for file in bundle.runtime_source().rglob("*.py"))
        asked_for = set(re.findall(r"client\(\"([a-z0-9-]+)\"", sources))
        assert {"acm-pca", "dynamodb", "iot"} <= asked_for
        assert asked_for <= bundle.CALLED_OPERATIONS.keys()

    def test_another_choice_of_operations_is_another_bundle(self, monkeypatch):
        before = Bundle().digest()
        more = {**bundle.CALLED_OPERATIONS, "sqs": frozenset({"SendMessage", "ReceiveMessage"})}
        monkeypatch.setattr(bundle, "CALLED_OPERATIONS", more)
        assert Bundle().digest() != before


class TestAsset:
    def test_functions_of_one_bundle_share_one_asset(self, source, installs, tmp_path):
        app = App(outdir=str(tmp_path / "cdk.out"))
        stack = Stack(app, "Stack")
        for name in ("A", "B"):
            runtime = lambda_.Runtime.PYTHON_3_13
            lambda_.Function(stack, name, runtime=runtime, handler="h", code=Bundle().code(stack))
        app.synth()
        assets = list((tmp_path / "cdk.out").glob("asset.*"))
        assert len(assets) == 1
        assert (assets[0] / "secretfree" / "handlers" / "issuer.py").is_file()

    def test_the_runtime_is_found(self):
        assert (bundle.runtime_source() / "handlers").is_dir()

    @pytest.mark.slow
    def test_the_construct_imports_nothing_of_the_runtime_but_its_contract(self):
        script = (
            "import sys\nfrom cdk_iot_secretfree.bundling.bundle import runtime_source\nruntime_source()\n"
            "print(sorted(name for name in sys.modules if name.split('.')[0] == 'secretfree'))"
        )
        found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "['secretfree', 'secretfree.contract', 'secretfree.contract_of_deployment']"
