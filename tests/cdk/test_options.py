"""Options that cannot work are refused where they are made."""

import cdk_iot_secretfree
import pytest
from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from cdk_iot_secretfree import Bundle, CertificateSubject, FunctionOptions, InvalidArgumentError


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (CertificateSubject, {"organization": ""}, "organization: '' was given; accepted: 1 to 64 printable"),
        (CertificateSubject, {"organizational_unit": "a\nb"}, "organizational_unit: .*1 to 64 printable"),
        (CertificateSubject, {"country": "de"}, "country: 'de' was given; accepted: two capital letters"),
        (FunctionOptions, {"memory_size": 128}, "memory_size: '128' was given; accepted: .*256 to 10240 MiB"),
        (FunctionOptions, {"authorizer_concurrency": 0}, "authorizer_concurrency: '0'"),
        (FunctionOptions, {"issuer_concurrency": -1}, "issuer_concurrency: '-1'"),
        (FunctionOptions, {"log_level": "TRACE"}, "log_level: 'TRACE' was given; accepted: DEBUG, INFO"),
        (FunctionOptions, {"sweep_interval": Duration.seconds(90)}, "sweep_interval: .*whole minutes"),
        (Bundle, {"runtime": lambda_.Runtime.PYTHON_3_9}, "runtime: 'python3.9' was given; accepted: python3.12"),
        (Bundle, {"runtime": lambda_.Runtime.NODEJS_20_X}, "runtime: 'nodejs20.x'"),
        (Bundle, {"architecture": lambda_.Architecture.custom("riscv64")}, "architecture: 'riscv64' .* arm64, x86_64"),
        (Bundle, {"target": "host"}, "target: 'host' was given; accepted: BundleTarget.LAMBDA"),
    ],
)
def test_an_option_is_named_with_what_is_accepted(kind, arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        kind(**arguments)


def test_a_long_value_is_cut_in_the_message():
    with pytest.raises(InvalidArgumentError) as refused:
        CertificateSubject(organization="x" * 5_000)
    assert len(str(refused.value)) < 250


def test_everything_public_is_there():
    for name in cdk_iot_secretfree.__all__:
        assert getattr(cdk_iot_secretfree, name).__doc__, name
