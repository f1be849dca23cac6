"""The explanations of the runtime's reasons."""

from secretfree.errors import Reason
from secretfree_cli.diagnose.policy_document import allows_connect
from secretfree_cli.diagnose.reasons import EXPLANATIONS


def test_every_reason_of_the_runtime_is_explained() -> None:
    assert set(EXPLANATIONS) == set(Reason)


def test_an_explanation_completes_the_sentence_and_says_what_to_do() -> None:
    for reason, explained in EXPLANATIONS.items():
        assert explained.meaning[0].islower(), reason
        assert explained.action.endswith("."), reason


def test_a_policy_allows_the_device_by_variable_by_name_and_by_wildcard() -> None:
    arn = "arn:aws:iot:eu-west-1:111122223333:client/"
    for resource in ("*", f"{arn}dev-1", f"{arn}*", f"{arn}${{iot:Connection.Thing.ThingName}}", f"{arn}dev-*"):
        assert allows_connect(_policy("Allow", "iot:Connect", resource), "dev-1"), resource
    for resource in (f"{arn}dev-2", arn.replace("client/", "topic/dev-1")):
        assert not allows_connect(_policy("Allow", "iot:Connect", resource), "dev-1"), resource


def test_a_policy_that_denies_or_cannot_be_read_lets_nothing_connect() -> None:
    allow = _policy("Allow", "iot:*", "*")
    assert allows_connect(allow, "dev-1")
    assert not allows_connect(_policy("Deny", "iot:Connect", "*"), "dev-1")
    for text in ("", "[]", "{}", "null", '{"Statement": "x"}'):
        assert not allows_connect(text, "dev-1"), text


def _policy(effect: str, action: str, resource: str) -> str:
    import json

    return json.dumps({"Statement": [{"Effect": effect, "Action": action, "Resource": resource}]})
