"""Botocore and moto without what each test would repeat: models, methods of clients, patterns of addresses, keys.

Without this, more than half of the time of a test is the same preparation as in the test before.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from types import SimpleNamespace
from typing import Any

from botocore import client, hooks, serialize, session, useragent
from botocore.loaders import JSONFileLoader


def quicken_botocore() -> None:
    """Let all botocore sessions of a process share what botocore only reads: each test makes sessions and clients.

    Otherwise each session parses the service models again and searches 400 folders for them. Each client computes the
    aliases of its events, inspects its handlers and writes its methods again.
    """
    parse = functools.cache(functools.partial(JSONFileLoader.load_file, JSONFileLoader()))
    JSONFileLoader.load_file = lambda _self, path: parse(path)
    session.create_loader = functools.cache(session.create_loader)
    alias = hooks.EventAliaser(None)._alias_event_name
    hooks.EventAliaser._alias_event_name = lambda _self, event_name: alias(event_name)
    # The runtime's clients do not check their parameters against the service's model. In tests they do.
    make_serializer = serialize.create_serializer
    serialize.create_serializer = lambda protocol, _validates=True, **options: make_serializer(
        protocol, True, **options
    )
    inspected = hooks.accepts_kwargs
    hooks.accepts_kwargs = lambda function: (
        bool(function.__code__.co_flags & inspect.CO_VARKEYWORDS)
        if inspect.isfunction(function) or inspect.ismethod(function)
        else inspected(function)
    )
    hooks._PrefixTrie.__copy__ = _copy_of_trie
    # The SDK composes its user agent twice for each call, which takes a tenth of the call's time.
    user_agent = [useragent.RawStringUserAgentComponent("tests")]
    useragent.modify_components = lambda _components: user_agent
    client.ClientCreator._create_methods = _once_a_service(client.ClientCreator._create_methods)
    client.ClientCreator._create_name_mapping = _once_a_service(client.ClientCreator._create_name_mapping)


def _once_a_service(make: Any) -> Any:
    made: dict[tuple[str, ...], dict[str, Any]] = {}

    def make_once(creator: Any, model: Any) -> dict[str, Any]:
        key = (model.service_name, model.api_version, *model.operation_names)
        if key not in made:
            made[key] = make(creator, model)
        return dict(made[key])

    return make_once


def _copy_of_trie(trie: Any) -> Any:
    copied = type(trie)()
    copied._root = _copy_of_node(trie._root)
    return copied


def _copy_of_node(node: Any) -> Any:
    values = node["values"]
    return {
        "chunk": node["chunk"],
        "children": {part: _copy_of_node(child) for part, child in node["children"].items()},
        "values": values and hooks.NodeList(*map(list, values)),
    }


@functools.cache
def quicken_moto() -> None:
    """Keep what moto computes for each account, each answer and each use of a CA's key. All its RSA keys are one."""
    # moto's CloudFormation imports jsonschema, which uses this package for IRIs alone, if it is installed. Its import
    # compiles 38 grammars and takes longer than that of all of moto.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from moto.acmpca import models as acmpca_models
    from moto.acmpca.models import CertificateAuthority
    from moto.core import models, responses
    from moto.core.serialize import AttributePicker
    from moto.iot import models as iot_models

    one_key = SimpleNamespace(**vars(rsa))
    one_key.generate_private_key = functools.cache(rsa.generate_private_key)
    acmpca_models.rsa = iot_models.rsa = one_key
    responses.method_names_from_class = functools.cache(responses.method_names_from_class)
    load = functools.lru_cache(load_pem_private_key)
    CertificateAuthority.key = property(lambda authority: load(authority.private_bytes, password=authority.password))
    models.MockAWS._enable_patching = _enable_without_patterns

    def remember(picker: type[AttributePicker]) -> None:
        compute = picker.get_possible_keys
        known: dict[tuple[type, str, Any], tuple[str, ...]] = {}

        def possible_keys(self: AttributePicker, context: Any) -> tuple[str, ...]:
            key = (type(context.obj), context.key, context.shape)
            if key not in known:
                known[key] = tuple(dict.fromkeys(compute(self, context)))
            return known[key]

        picker.get_possible_keys = possible_keys

    for picker in AttributePicker.__subclasses__():
        remember(picker)


def _enable_without_patterns(mock: Any, reset: bool = True) -> None:
    """As moto's own, which also makes 1,400 patterns for `requests`. Here, `requests` reaches no AWS at all."""
    from moto.core import models

    models.botocore_stubber.enabled = True
    if reset:
        mock.reset()
    models.responses_mock.start()
    everything = re.compile(r"https?://.+\.amazonaws.com/.*")
    for method in models.RESPONSES_METHODS:
        refusal = models.CallbackResponse(method=method, url=everything, callback=models.not_implemented_callback)
        models.responses_mock.add(refusal)
