"""A grant takes effect, or it is refused: the CDK drops some without a word."""

import pytest
from aws_cdk import App, Environment, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from cdk_iot_secretfree import (
    AuditTrail,
    AuthoritySubject,
    DeviceAuthority,
    InvalidArgumentError,
    Issuer,
    ManifestImport,
    SecretFreeProvisioning,
)

from tests.cdk.conftest import WITHOUT_BUNDLING

OURS, THEIRS = "111122223333", "444455556666"
TEMPLATE = "arn:aws:acm-pca:::template/EndEntityClientAuthCertificate/V1"


class World:
    def __init__(self):
        app = App(context=WITHOUT_BUNDLING)
        self.stack = Stack(app, "Stack", env=Environment(account=OURS, region="eu-west-1"))
        self.other = Stack(app, "Other", env=Environment(account=THEIRS, region="eu-west-1"))
        self.authority = DeviceAuthority.root(self.stack, "Root", subject=AuthoritySubject(common_name="root"))
        self.line = SecretFreeProvisioning(
            self.stack,
            "Provisioning",
            product="widget",
            issuers=[Issuer.private_ca(self.authority)],
            encryption_key=kms.Key(self.stack, "Key"),
        )
        self.imports = ManifestImport(self.stack, "ManifestImport", self.line)
        self.trail = AuditTrail(self.stack, "AuditTrail", self.line)


@pytest.fixture(scope="module")
def world():
    return World()


GRANTS = {
    "enroll": lambda world, to: world.line.grant_enroll(to),
    "read": lambda world, to: world.line.grant_read(to),
    "diagnose": lambda world, to: world.line.grant_diagnose(to),
    "operate": lambda world, to: world.line.grant_operate(to),
    "look up": lambda world, to: world.line.registry.grant_lookup(to, by_key=True),
    "drop manifests": lambda world, to: world.imports.grant_drop(to),
    "read the audit trail": lambda world, to: world.trail.grant_read(to),
    "issue": lambda world, to: world.authority.grant_issue(to, template_arn=TEMPLATE),
    "revoke": lambda world, to: world.authority.grant_revoke(to),
}
DROPPED = {
    "a role by its ARN": lambda world: iam.Role.from_role_arn(
        world.stack, f"Theirs{len(world.stack.node.children)}", f"arn:aws:iam::{THEIRS}:role/importer"
    ),
    "a role of the app": lambda world: iam.Role(
        world.other, f"Role{len(world.other.node.children)}", assumed_by=iam.AccountRootPrincipal()
    ),
    "an account": lambda _: iam.AccountPrincipal(THEIRS),
}


@pytest.mark.parametrize("grantee", DROPPED)
@pytest.mark.parametrize("grant", GRANTS)
def test_a_grant_to_another_account_is_refused_with_what_to_do(world, grant, grantee):
    with pytest.raises(InvalidArgumentError, match=f"grantee: 'a principal of account {THEIRS}' .* account {OURS}"):
        GRANTS[grant](world, DROPPED[grantee](world))


def test_a_principal_that_takes_no_policy_is_refused(world):
    with pytest.raises(InvalidArgumentError, match="grantee: 'a principal without policies: ServicePrincipal'"):
        world.line.grant_read(iam.ServicePrincipal("ec2.amazonaws.com"))


@pytest.mark.parametrize("grant", GRANTS)
def test_a_grant_to_a_role_of_the_account_succeeds(world, grant):
    arn = f"arn:aws:iam::{OURS}:role/importer"
    made = iam.Role(world.stack, f"Made for {grant}", assumed_by=iam.AccountRootPrincipal())
    named = iam.Role.from_role_arn(world.stack, f"Named for {grant}", arn)
    frozen = iam.Role.from_role_arn(world.stack, f"Frozen for {grant}", arn, mutable=False)
    assert all(GRANTS[grant](world, role).success for role in (made, named, frozen))


def test_where_the_accounts_are_known_at_deploy_time_only_nothing_is_refused(stack):
    role = iam.Role.from_role_arn(stack, "Theirs", f"arn:aws:iam::{THEIRS}:role/importer")
    line = SecretFreeProvisioning(stack, "Provisioning", product="widget", issuers=[Issuer.iot_core()])
    assert line.grant_read(role).success
