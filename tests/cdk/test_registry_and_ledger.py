"""The registry and the ledger: their shape, how they are kept, and who may touch them."""

import json

import pytest
from aws_cdk import App, Environment, RemovalPolicies, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk.assertions import Template
from cdk_iot_secretfree import (
    DeviceRegistry,
    InvalidArgumentError,
    IssuanceLedger,
    Issuer,
    ManifestImport,
    MatchPolicy,
    SecretFreeProvisioning,
)
from secretfree.contract import LedgerIndex


def key_schemas(table):
    return {
        index["IndexName"]: [key["AttributeName"] for key in index["KeySchema"]]
        for index in table["GlobalSecondaryIndexes"]
    }


def someone(scope):
    return iam.Role(scope, "Someone", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))


class TestRegistry:
    def test_devices_are_found_by_id_by_key_and_by_batch(self, synthesise):
        table = synthesise(lambda stack: DeviceRegistry(stack, "Registry")).only("AWS::DynamoDB::GlobalTable")
        assert table["KeySchema"] == [{"AttributeName": "device-id", "KeyType": "HASH"}]
        assert key_schemas(table) == {
            "key-fingerprint-index": ["key-fingerprint"],
            "batch-index": ["batch", "device-id"],
        }
        assert {index["Projection"]["ProjectionType"] for index in table["GlobalSecondaryIndexes"]} == {"KEYS_ONLY"}

    @pytest.mark.parametrize("kind", [DeviceRegistry, IssuanceLedger])
    def test_it_is_kept_restorable_encrypted_and_protected(self, synthesise, kind):
        made = synthesise(lambda stack: kind(stack, "Table"))
        (resource,) = made.of_type("AWS::DynamoDB::GlobalTable").values()
        (replica,) = resource["Properties"]["Replicas"]
        assert resource["DeletionPolicy"] == "Retain"
        assert resource["UpdateReplacePolicy"] == "Retain"
        assert replica["DeletionProtectionEnabled"] is True
        assert replica["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert resource["Properties"]["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS"}
        assert resource["Properties"]["BillingMode"] == "PAY_PER_REQUEST"

    @pytest.mark.parametrize("kind", [DeviceRegistry, IssuanceLedger])
    def test_it_is_deleted_with_the_stack_on_request(self, synthesise, kind):
        made = synthesise(lambda stack: kind(stack, "Table", removal_policy=RemovalPolicy.DESTROY))
        (resource,) = made.of_type("AWS::DynamoDB::GlobalTable").values()
        assert resource["DeletionPolicy"] == "Delete"
        assert resource["Properties"]["Replicas"][0]["DeletionProtectionEnabled"] is False

    @pytest.mark.parametrize("kind", [DeviceRegistry, IssuanceLedger])
    def test_it_is_deleted_where_the_whole_stack_is_destroyed(self, synthesise, kind):
        def fill(stack):
            kind(stack, "Table")
            RemovalPolicies.of(stack).destroy()

        (resource,) = synthesise(fill).of_type("AWS::DynamoDB::GlobalTable").values()
        assert resource["DeletionPolicy"] == "Delete"
        assert resource["Properties"]["Replicas"][0]["DeletionProtectionEnabled"] is False

    @pytest.mark.parametrize("kind", [DeviceRegistry, IssuanceLedger])
    def test_where_only_a_failed_creation_takes_it_back_that_can_be_done(self, synthesise, kind):
        policy = RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE
        made = synthesise(lambda stack: kind(stack, "Table", removal_policy=policy))
        (resource,) = made.of_type("AWS::DynamoDB::GlobalTable").values()
        assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
        assert resource["Properties"]["Replicas"][0]["DeletionProtectionEnabled"] is False

    @pytest.mark.parametrize("kind", [DeviceRegistry, IssuanceLedger])
    def test_a_snapshot_which_cloudformation_cannot_take_of_it_is_refused(self, stack, kind):
        with pytest.raises(InvalidArgumentError, match=r"removal_policy: 'SNAPSHOT'"):
            kind(stack, "Table", removal_policy=RemovalPolicy.SNAPSHOT)

    def test_an_importer_may_write_and_a_reader_may_not(self, synthesise):
        def actions(grant):
            made = synthesise(lambda stack: grant(DeviceRegistry(stack, "Registry"), someone(stack)))
            return set(made.only("AWS::IAM::Policy")["PolicyDocument"]["Statement"][0]["Action"])

        read = actions(lambda registry, role: registry.grant_read(role))
        enroll = actions(lambda registry, role: registry.grant_enroll(role))
        writes = {
            f"dynamodb:{verb}"
            for verb in ("BatchWriteItem", "ConditionCheckItem", "DeleteItem", "PutItem", "UpdateItem")
        }
        assert enroll - read == writes
        assert read == {f"dynamodb:{verb}" for verb in ("BatchGetItem", "DescribeTable", "GetItem", "Query", "Scan")}

    def test_with_a_key_of_your_own_grants_cover_the_key(self, stack_in_ireland):
        registry = DeviceRegistry(stack_in_ireland, "Registry", encryption_key=kms.Key(stack_in_ireland, "Key"))
        registry.grant_lookup(someone(stack_in_ireland), by_key=True)
        template = Template.from_stack(stack_in_ireland)
        (policy,) = template.find_resources("AWS::IAM::Policy").values()
        assert "kms:Decrypt" in json.dumps(policy)
        assert "kms:Encrypt" not in json.dumps(policy)
        (table,) = template.find_resources("AWS::DynamoDB::GlobalTable").values()
        assert "KMSMasterKeyId" in table["Properties"]["Replicas"][0]["SSESpecification"]

    def test_a_key_of_your_own_needs_to_know_its_region(self, stack):
        with pytest.raises(InvalidArgumentError, match=r"encryption_key: .*whose env names account and Region"):
            DeviceRegistry(stack, "Registry", encryption_key=kms.Key(stack, "Key"))


class TestBroughtRegistry:
    def test_it_grants_as_a_made_one_does(self, synthesise):
        def fill(stack):
            brought = DeviceRegistry.from_table_name(
                stack, "Registry", "devices", key_index="by-key", encryption_key=kms.Key(stack, "Key")
            )
            assert (brought.table_name, brought.key_index) == ("devices", "by-key")
            assert brought.table.table_name == "devices"
            role = someone(stack)
            brought.grant_read(role)
            brought.grant_enroll(role)
            brought.grant_lookup(role, by_key=True)

        made = synthesise(fill)
        policy = json.dumps(made.only("AWS::IAM::Policy"))
        assert ":table/devices/index/by-key" in policy
        assert "kms:Encrypt" in policy
        assert not made.of_type("AWS::DynamoDB::GlobalTable")

    @pytest.mark.parametrize("name", ["", "ab", "my table", "arn:aws:dynamodb:eu-west-1:1:table/devices"])
    def test_what_is_no_tables_name_is_refused(self, stack, name):
        with pytest.raises(InvalidArgumentError, match=r"table_name: .*a DynamoDB table's name"):
            DeviceRegistry.from_table_name(stack, "Registry", name)

    def test_what_is_no_indexs_name_is_refused(self, stack):
        with pytest.raises(InvalidArgumentError, match=r"key_index: 'a b'"):
            DeviceRegistry.from_table_name(stack, "Registry", "devices", key_index="a b")


class TestLedger:
    def test_records_are_kept_for_each_device_and_the_unfinished_are_found(self, synthesise):
        table = synthesise(lambda stack: IssuanceLedger(stack, "Ledger")).only("AWS::DynamoDB::GlobalTable")
        assert [key["AttributeName"] for key in table["KeySchema"]] == ["device-id", "record"]
        assert key_schemas(table) == {
            LedgerIndex.PENDING.value: ["pending", "lease-expires"],
            LedgerIndex.ENDING.value: ["ending", "ends-at"],
        }
        assert {"AttributeName": "lease-expires", "AttributeType": "N"} in table["AttributeDefinitions"]
        assert table["TimeToLiveSpecification"] == {"AttributeName": "expires-at", "Enabled": True}

    def test_a_reader_may_not_write(self, synthesise):
        made = synthesise(lambda stack: IssuanceLedger(stack, "Ledger").grant_read(someone(stack)))
        assert not [a for a in json.dumps(made.only("AWS::IAM::Policy")).split('"') if "Put" in a or "Delete" in a]

    def test_with_a_key_of_your_own_the_issuer_may_use_it(self, stack_in_ireland):
        ledger = IssuanceLedger(stack_in_ireland, "Ledger", encryption_key=kms.Key(stack_in_ireland, "Key"))
        ledger.grant_sweep(someone(stack_in_ireland))
        (policy,) = Template.from_stack(stack_in_ireland).find_resources("AWS::IAM::Policy").values()
        assert "kms:Encrypt" in json.dumps(policy)


@pytest.mark.parametrize("kind", [DeviceRegistry, IssuanceLedger])
def test_throttling_can_be_watched(stack, kind):
    table = kind(stack, "Table")
    metric = table.metric_throttled_requests()
    assert (metric.to_metric_config().metric_stat.metric_name) == "ThrottledRequests"


class TestImportedLedger:
    @pytest.fixture(scope="class")
    @staticmethod
    def made(synthesise):
        def fill(stack):
            ledger = IssuanceLedger.from_table_name(
                stack, "Restored", "restored-ledger", encryption_key=kms.Key(stack, "Key")
            )
            SecretFreeProvisioning(stack, "P", product="widget", issuers=[Issuer.iot_core()], ledger=ledger)

        return synthesise(fill)

    def test_a_restored_ledger_can_keep_the_deployment_id_of_the_table_it_began_in(self, synthesise):
        began_in = "arn:aws:dynamodb:eu-west-1:111122223333:table/Stack-Ledger"

        def fill(stack):
            ledger = IssuanceLedger.from_table_name(stack, "Restored", "restored-ledger", deployment_id=began_in)
            SecretFreeProvisioning(stack, "P", product="widget", issuers=[Issuer.iot_core()], ledger=ledger)

        made = synthesise(fill)
        assert made.environment("issuer")["SECRETFREE_DEPLOYMENT"] == began_in
        assert made.environment("issuer")["SECRETFREE_LEDGER_TABLE"] == "restored-ledger"

    def test_without_one_the_restored_table_is_a_deployment_of_its_own(self, made):
        assert ":table/restored-ledger" in json.dumps(made.environment("issuer")["SECRETFREE_DEPLOYMENT"])

    @pytest.mark.parametrize("text", ["", "restored-ledger", "arn:aws:s3:::table/ledger"])
    def test_a_deployment_id_that_is_no_tables_arn_is_refused(self, stack, text):
        with pytest.raises(InvalidArgumentError, match=r"deployment_id: .*a DynamoDB table's ARN"):
            IssuanceLedger.from_table_name(stack, "Restored", "restored-ledger", deployment_id=text)

    def test_no_other_ledger_is_made(self, made):
        (registry,) = made.of_type("AWS::DynamoDB::GlobalTable")
        assert "Registry" in registry

    @pytest.mark.parametrize("handler", ["issuer", "sweeper"])
    def test_the_functions_write_it_and_may_use_its_key(self, made, handler):
        assert made.environment(handler)["SECRETFREE_LEDGER_TABLE"] == "restored-ledger"
        assert {"dynamodb:PutItem", "kms:Decrypt"} <= made.actions(handler)

    def test_what_is_no_table_s_name_is_refused(self, stack):
        with pytest.raises(InvalidArgumentError, match="table_name: 'a b'"):
            IssuanceLedger.from_table_name(stack, "Ledger", "a b")


def test_no_function_uses_a_customer_key_but_through_the_service_that_holds_the_data():
    stack = Stack(
        App(context={"aws:cdk:bundling-stacks": []}), "S", env=Environment(account="111122223333", region="eu-west-1")
    )
    provisioning = SecretFreeProvisioning(
        stack,
        "P",
        product="widget",
        issuers=[Issuer.iot_core()],
        match=MatchPolicy.UDID,
        encryption_key=kms.Key(stack, "Key"),
    )
    ManifestImport(stack, "Import", provisioning).grant_drop(
        iam.Role(stack, "Factory", assumed_by=iam.AccountRootPrincipal())
    )
    provisioning.grant_enroll(iam.Role(stack, "Enroller", assumed_by=iam.AccountRootPrincipal()))
    statements = [
        statement
        for policy in Template.from_stack(stack).find_resources("AWS::IAM::Policy").values()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if "kms:" in json.dumps(statement["Action"])
    ]
    assert len(statements) >= 8
    services = {statement["Condition"]["StringEquals"]["kms:ViaService"] for statement in statements}
    assert services == {"dynamodb.eu-west-1.amazonaws.com", "s3.eu-west-1.amazonaws.com"}
