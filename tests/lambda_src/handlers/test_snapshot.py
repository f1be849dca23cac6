"""What a snapshot of Lambda SnapStart may hold: nothing random, no time and no connection."""

import importlib
import random
import socket
import sys
import time
import types
import uuid

import pytest
from secretfree import clock
from secretfree.adapters import clients, single_try_clients
from secretfree.handlers import entry
from support.environments import every_environment

# The handlers that devices wait for: these start from a snapshot.
MODULES = ("authorizer", "csr_front", "est", "issuer")


@pytest.fixture
def in_snapshot(monkeypatch):
    """Lambda's environment while it makes a snapshot, and the hooks that were registered for the restore."""
    hooks = []
    monkeypatch.setitem(
        sys.modules,
        "snapshot_restore_py",
        types.SimpleNamespace(register_after_restore=lambda hook, *args: hooks.append((hook, args))),
    )
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "function")
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    for name, value in every_environment().items():
        monkeypatch.setenv(name, value)
    return hooks


def restored(hooks):
    for hook, args in hooks:
        hook(*args)


@pytest.mark.parametrize("module", MODULES)
def test_building_a_handler_draws_nothing_reads_no_clock_and_connects_nowhere(module, in_snapshot, monkeypatch):
    built = importlib.import_module(f"secretfree.handlers.{module}").build
    clients.client.cache_clear()
    single_try_clients._client.cache_clear()
    used = []

    def watch(owner, name):
        original = getattr(owner, name)

        def watched(*args, **kwargs):
            # botocore dates its caches; ours is what is judged here.
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if caller.startswith("secretfree"):
                used.append(f"{caller} uses {name}")
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, watched)

    for owner, name in [(time, "time"), (time, "monotonic"), (uuid, "uuid4"), (random, "random")]:
        watch(owner, name)
    for name in ("now", "monotonic"):
        monkeypatch.setattr(clock.SystemClock, name, lambda _self, name=name: used.append(f"the clock's {name}"))
    monkeypatch.setattr(random.SystemRandom, "random", lambda _self: used.append("SystemRandom.random"))
    monkeypatch.setattr(socket.socket, "connect", lambda *_args: used.append("a connection"))
    built(every_environment())
    assert used == []


def test_two_copies_of_one_snapshot_draw_different_numbers(in_snapshot):
    entry.lambda_handler(lambda _environment: lambda _event, _context: None)
    snapshot = random.getstate()
    drawn = []
    for _copy in range(2):
        random.setstate(snapshot)
        restored(in_snapshot)
        drawn.append(random.random())
    assert drawn[0] != drawn[1]


def test_outside_a_snapshot_no_hook_is_registered(in_snapshot, monkeypatch):
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    entry.lambda_handler(lambda _environment: lambda _event, _context: None)
    assert in_snapshot == []
