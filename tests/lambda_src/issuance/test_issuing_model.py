"""The issuing model, run for each issuer: short in every run, long in slow and nightly ones."""

import pytest
from hypothesis import HealthCheck, settings
from secretfree.contract import IssuerKind
from support.issuing_model import IssuingModel
from support.world import verified_csr


class IotCoreModel(IssuingModel):
    kind = IssuerKind.IOT_CORE


QUICK = settings(
    max_examples=50, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
LONG = settings(QUICK, max_examples=40, stateful_step_count=50)
THOROUGH = settings(LONG, max_examples=5_000, derandomize=False)


class TestPrivateCaModel(IssuingModel.TestCase):  # type: ignore[misc,name-defined]
    settings = QUICK


class TestIotCoreModel(IotCoreModel.TestCase):  # type: ignore[misc,name-defined]
    settings = QUICK


@pytest.mark.slow
class TestPrivateCaModelForLong(IssuingModel.TestCase):  # type: ignore[misc,name-defined]
    settings = LONG


@pytest.mark.slow
class TestIotCoreModelForLong(IotCoreModel.TestCase):  # type: ignore[misc,name-defined]
    settings = LONG


@pytest.mark.nightly
class TestPrivateCaModelThoroughly(IssuingModel.TestCase):  # type: ignore[misc,name-defined]
    settings = THOROUGH


@pytest.mark.nightly
class TestIotCoreModelThoroughly(IotCoreModel.TestCase):  # type: ignore[misc,name-defined]
    settings = THOROUGH


def test_keys_of_the_model_differ() -> None:
    assert verified_csr("widget-1", 0).public_key.fingerprint != verified_csr("widget-1", 1).public_key.fingerprint
