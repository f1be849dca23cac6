"""ManifestImport: what its parts may do, and what the state machine that it synthesises says."""

import inspect
import json
from collections.abc import Mapping
from typing import Any

import pytest
from aws_cdk import App, Duration, Environment, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk.assertions import Annotations, Match, Template
from cdk_iot_secretfree import (
    DeviceProfile,
    DeviceRegistry,
    FunctionOptions,
    IDeviceRegistry,
    InvalidArgumentError,
    Issuer,
    MatchPolicy,
    SampleOptions,
    SecretFreeProvisioning,
    SecretFreeStack,
)
from cdk_iot_secretfree.manifest_import import ManifestImport
from secretfree.config.manifest_import import ImportConfig
from secretfree.contract import Variable

from tests.cdk.conftest import rights_of

WITHOUT_BUNDLING = {"aws:cdk:bundling-stacks": []}
IRELAND = Environment(account="111122223333", region="eu-west-1")


def made(**arguments: Any) -> tuple[Stack, ManifestImport]:
    stack = Stack(App(context=WITHOUT_BUNDLING), "Factory")
    registry = arguments.pop("registry", None) or DeviceRegistry(stack, "Registry")
    return stack, into(stack, "Import", registry, **arguments)


def into(stack: Stack, name: str, registry: IDeviceRegistry, **arguments: Any) -> ManifestImport:
    """An import into a registry without its provisioning; what a test does not say is the plainest."""
    plain: dict[str, Any] = {
        "product": "widget",
        "match": MatchPolicy.UDID_AND_PUBLIC_KEY,
        "device_profile": DeviceProfile.STANDARD,
        "functions": FunctionOptions(),
    }
    return ManifestImport.into_registry(stack, name, registry=registry, **{**plain, **arguments})


@pytest.fixture(scope="module")
def template() -> Template:
    stack, _ = made()
    return Template.from_stack(stack)


@pytest.fixture(scope="module")
def resources(template: Template) -> Mapping[str, Any]:
    resources: Mapping[str, Any] = template.to_json()["Resources"]
    return resources


@pytest.fixture(scope="module")
def definition(resources: Mapping[str, Any]) -> dict[str, Any]:
    return definition_of(resources)


def definition_of(resources: Mapping[str, Any]) -> dict[str, Any]:
    (machine,) = [r for r in resources.values() if r["Type"] == "AWS::StepFunctions::StateMachine"]
    parts = machine["Properties"]["DefinitionString"]["Fn::Join"][1]
    text = "".join(part if isinstance(part, str) else "token" for part in parts)
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def statements_of(resources: Mapping[str, Any], role_prefix: str) -> list[dict[str, Any]]:
    (role,) = [name for name, r in resources.items() if r["Type"] == "AWS::IAM::Role" and name.startswith(role_prefix)]
    return rights_of(resources, role)


class TestBucket:
    def test_it_is_encrypted_versioned_private_and_notifies_eventbridge(self, template: Template) -> None:
        template.has_resource(
            "AWS::S3::Bucket",
            {
                "DeletionPolicy": "Retain",
                "Properties": {
                    "BucketEncryption": {
                        "ServerSideEncryptionConfiguration": [
                            {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
                        ]
                    },
                    "VersioningConfiguration": {"Status": "Enabled"},
                    "PublicAccessBlockConfiguration": {
                        "BlockPublicAcls": True,
                        "BlockPublicPolicy": True,
                        "IgnorePublicAcls": True,
                        "RestrictPublicBuckets": True,
                    },
                    "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
                    "NotificationConfiguration": {"EventBridgeConfiguration": {"EventBridgeEnabled": True}},
                },
            },
        )

    def test_it_refuses_plain_http(self, template: Template) -> None:
        template.has_resource_properties(
            "AWS::S3::BucketPolicy",
            {
                "PolicyDocument": {
                    "Statement": Match.array_with(
                        [Match.object_like({"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": "false"}}})]
                    )
                }
            },
        )

    def test_no_function_beside_the_import_s_own_is_made(self, template: Template) -> None:
        template.resource_count_is("AWS::Lambda::Function", 1)

    def test_a_key_of_ones_own_encrypts_it_and_both_roles_may_use_it(self) -> None:
        stack = Stack(App(context=WITHOUT_BUNDLING), "Factory")
        into(stack, "Import", DeviceRegistry(stack, "Registry"), encryption_key=kms.Key(stack, "Key"))
        resources = Template.from_stack(stack).to_json()["Resources"]
        for role in ("ImportRole", "ImportFunctionRole"):
            actions = [action for s in statements_of(resources, role) for action in as_list(s["Action"])]
            assert "kms:Decrypt" in actions

    def test_a_registry_with_a_key_and_an_index_of_its_own_can_be_imported_into(self) -> None:
        stack = Stack(App(context=WITHOUT_BUNDLING), "Factory")
        registry = DeviceRegistry.from_table_name(
            stack, "Registry", "devices", key_index="by-key", encryption_key=kms.Key(stack, "Key")
        )
        into(stack, "Import", registry)
        resources = Template.from_stack(stack).to_json()["Resources"]
        statements = statements_of(resources, "ImportFunctionRole")
        actions = [action for s in statements for action in as_list(s["Action"])]
        assert {"kms:Decrypt", "kms:Encrypt"} <= {action.removesuffix("*") for action in actions}
        (query,) = [s for s in statements if "dynamodb:Query" in as_list(s["Action"])]
        assert "/index/by-key" in json.dumps(query["Resource"])
        (function,) = [r for r in resources.values() if r["Type"] == "AWS::Lambda::Function"]
        assert function["Properties"]["Environment"]["Variables"]["SECRETFREE_REGISTRY_KEY_INDEX"] == "by-key"


class TestStateMachine:
    @pytest.mark.parametrize(("source", "reader"), [("csv", "CSV"), ("jsonl", "JSONL")])
    def test_a_distributed_map_reads_the_file_itself_and_hands_on_batches(
        self, definition: dict[str, Any], source: str, reader: str
    ) -> None:
        rows = definition["States"][f"ImportRows-{source}"]
        assert rows["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"}
        assert rows["ItemReader"]["ReaderConfig"]["InputType"] == reader
        assert rows["ItemReader"]["Parameters"]["Key.$"] == "$.opened.Payload.key"
        assert rows["ItemBatcher"] == {"MaxItemsPerBatch": 200, "MaxInputBytesPerBatch": 245_760}
        assert rows["MaxConcurrency"] == 10
        assert rows["ItemSelector"]["source"] == source

    @pytest.mark.parametrize("source", ["csv", "jsonl"])
    def test_the_children_s_results_are_written_without_the_rows_they_were_given(
        self, definition: dict[str, Any], source: str
    ) -> None:
        writer = definition["States"][f"ImportRows-{source}"]["ResultWriter"]
        assert writer["WriterConfig"] == {"OutputType": "JSONL", "Transformation": "COMPACT"}
        assert writer["Parameters"]["Prefix.$"] == "States.Format('results/{}/children', $.opened.Payload.batch)"

    def test_no_failed_child_is_tolerated(self, definition: dict[str, Any]) -> None:
        for source in ("csv", "jsonl"):
            assert not {name for name in definition["States"][f"ImportRows-{source}"] if name.startswith("Tolerated")}

    def test_every_failure_leads_to_a_summary_and_then_fails_the_execution(self, definition: dict[str, Any]) -> None:
        states = definition["States"]
        for name in ("Open", "ImportRows-csv", "ImportRows-jsonl", "Close"):
            assert states[name]["Catch"][0]["ErrorEquals"] == ["States.ALL"]
            assert states[name]["Catch"][0]["Next"] == "CloseFailed"
        assert states["ByFormat"]["Default"] == "ManifestRefused"
        assert states["ManifestRefused"]["Next"] == "CloseFailed"
        assert states["CloseFailed"]["Next"] == "ImportFailed"
        assert states["IsComplete"]["Default"] == "ImportFailed"
        assert states["ImportFailed"]["Type"] == "Fail"

    def test_every_task_is_tried_again(self, definition: dict[str, Any]) -> None:
        maps = [definition["States"][f"ImportRows-{source}"] for source in ("csv", "jsonl")]
        tasks = [state for state in definition["States"].values() if state["Type"] == "Task"]
        tasks += [task for rows in maps for task in rows["ItemProcessor"]["States"].values()]
        assert len(tasks) == 5
        assert all(task["Retry"][0]["ErrorEquals"] == ["States.ALL"] for task in tasks)

    def test_an_upload_below_manifests_starts_it_and_what_could_not_start_is_kept(self, template: Template) -> None:
        template.has_resource_properties(
            "AWS::Events::Rule",
            {
                "EventPattern": {
                    "source": ["aws.s3"],
                    "detail-type": ["Object Created"],
                    "detail": {
                        "bucket": {"name": [{"Ref": Match.string_like_regexp("^ImportBucket")}]},
                        "object": {"key": [{"prefix": "manifests/"}]},
                    },
                },
                "Targets": [Match.object_like({"DeadLetterConfig": {"Arn": Match.any_value()}})],
            },
        )

    def test_concurrency_batches_and_time_can_be_chosen(self) -> None:
        stack, _ = made(max_concurrency=40, rows_per_call=500, timeout=Duration.hours(2))
        definition = definition_of(Template.from_stack(stack).to_json()["Resources"])
        assert definition["TimeoutSeconds"] == 7_200
        assert definition["States"]["ImportRows-csv"]["MaxConcurrency"] == 40
        assert definition["States"]["ImportRows-csv"]["ItemBatcher"]["MaxItemsPerBatch"] == 500

    def test_synthesis_warns_of_nothing(self) -> None:
        stack, _ = made()
        assert Annotations.from_stack(stack).find_warning("*", "*") == []


class TestRoles:
    def test_the_function_writes_the_registry_reads_manifests_and_writes_results_only(
        self, resources: Mapping[str, Any]
    ) -> None:
        statements = statements_of(resources, "ImportFunctionRole")
        by_action = {action: s["Resource"] for s in statements for action in as_list(s["Action"])}
        assert set(by_action) == {
            "dynamodb:BatchGetItem",
            "dynamodb:BatchWriteItem",
            "dynamodb:DeleteItem",
            "dynamodb:DescribeTable",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:Scan",
            "dynamodb:UpdateItem",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
            "s3:GetObject",
            "s3:PutObject",
        }
        assert json.dumps(by_action["dynamodb:Query"]).count("/index/key-fingerprint-index") == 1
        assert objects_of(by_action["s3:GetObject"]) == {"/manifests/*", "/results/*"}
        assert objects_of(by_action["s3:PutObject"]) == {"/results/*"}

    def test_the_state_machine_reads_manifests_and_writes_results_only(self, resources: Mapping[str, Any]) -> None:
        statements = statements_of(resources, "ImportRole")
        reads = [objects_of(s["Resource"]) for s in statements if "s3:GetObject" in as_list(s["Action"])]
        writes = [objects_of(s["Resource"]) for s in statements if "s3:PutObject" in as_list(s["Action"])]
        assert reads == [{"/manifests/*"}, {"/results/*"}]
        assert writes == [{"/results/*"}]

    def test_only_log_delivery_and_tracing_which_have_no_resources_are_allowed_on_all(
        self, resources: Mapping[str, Any]
    ) -> None:
        for role in ("ImportRole", "ImportFunctionRole"):
            for statement in statements_of(resources, role):
                if statement["Resource"] == "*":
                    assert all(action.startswith(("logs:", "xray:")) for action in as_list(statement["Action"]))

    def test_it_may_start_its_own_children_and_no_other_machine(self, resources: Mapping[str, Any]) -> None:
        machine = next(n for n, r in resources.items() if r["Type"] == "AWS::StepFunctions::StateMachine")
        (start,) = [s for s in statements_of(resources, "ImportRole") if s["Action"] == "states:StartExecution"]
        assert start["Resource"] == {"Ref": machine}

    def test_whoever_drops_manifests_may_put_them_and_read_results_only(self) -> None:
        stack, manifest_import = made()
        manifest_import.grant_drop(iam.Role(stack, "Factory", assumed_by=iam.AccountRootPrincipal()))
        resources = Template.from_stack(stack).to_json()["Resources"]
        by_action = {
            action: objects_of(statement["Resource"])
            for statement in statements_of(resources, "Factory")
            for action in as_list(statement["Action"])
        }
        assert by_action["s3:PutObject"] == {"/manifests/*"}
        assert by_action["s3:GetObject"] == {"/results/*"}
        assert by_action["s3:ListBucket"] == {""}
        assert not [action for action in by_action if "Delete" in action]


def test_the_environment_is_what_the_function_reads(resources: Mapping[str, Any]) -> None:
    (function,) = [r for r in resources.values() if r["Type"] == "AWS::Lambda::Function"]
    variables = function["Properties"]["Environment"]["Variables"]
    config = ImportConfig.from_environment(
        {name: v if isinstance(v, str) else "token" for name, v in variables.items()}
    )
    assert config.product == "widget"
    assert function["Properties"]["Handler"] == "secretfree.handlers.manifest_import.handler"


def test_alarms_tell_of_imports_that_failed_ran_out_of_time_or_could_not_start(template: Template) -> None:
    template.resource_count_is("AWS::CloudWatch::Alarm", 3)
    for metric in ("ExecutionsFailed", "ExecutionsTimedOut", "ApproximateNumberOfMessagesVisible"):
        template.has_resource_properties(
            "AWS::CloudWatch::Alarm", {"MetricName": metric, "Threshold": 1, "TreatMissingData": "notBreaching"}
        )


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"max_concurrency": 1_001}, "max_concurrency"),
        ({"rows_per_call": 501}, "rows_per_call"),
        ({"removal_policy": RemovalPolicy.SNAPSHOT}, "removal_policy"),
        ({"match": "UDID"}, "match"),
        ({"device_profile": "TI_CC32XX"}, "device_profile"),
        ({"functions": None}, "functions"),
    ],
)
def test_an_argument_that_cannot_work_is_refused_by_name(arguments: dict[str, Any], names: str) -> None:
    with pytest.raises(InvalidArgumentError, match=names):
        made(**arguments)


def test_a_registry_without_a_key_index_is_refused() -> None:
    stack = Stack(App(context=WITHOUT_BUNDLING), "Factory")
    registry = DeviceRegistry.from_table_name(stack, "Registry", "existing-devices")
    with pytest.raises(InvalidArgumentError, match="key_index"):
        into(stack, "Import", registry)


def test_two_imports_in_one_stack_synthesise() -> None:
    stack, _ = made()
    into(stack, "Second", DeviceRegistry(stack, "OtherRegistry"), product="gadget")
    Template.from_stack(stack).resource_count_is("AWS::S3::Bucket", 2)


@pytest.mark.parametrize("left_out", ["product", "match", "device_profile", "functions", "registry"])
def test_without_a_provisioning_nothing_that_it_decides_has_a_default(left_out: str) -> None:
    parameter = inspect.signature(ManifestImport.into_registry).parameters[left_out]
    assert parameter.default is inspect.Parameter.empty
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY


class TestOfAProvisioning:
    def made(self, **arguments: Any) -> tuple[Stack, SecretFreeProvisioning, ManifestImport]:
        stack = Stack(
            App(context=WITHOUT_BUNDLING), "Line", env=Environment(account="111122223333", region="eu-west-1")
        )
        key = kms.Key(stack, "Key")
        provisioning = SecretFreeProvisioning(
            stack, "Provisioning", product="meter", issuers=[Issuer.iot_core()], encryption_key=key, **arguments
        )
        return stack, provisioning, ManifestImport(stack, "Import", provisioning)

    @pytest.mark.parametrize("profile", DeviceProfile)
    @pytest.mark.parametrize("match", MatchPolicy)
    def test_ids_are_enrolled_as_the_provisioning_looks_them_up(
        self, profile: DeviceProfile, match: MatchPolicy
    ) -> None:
        stack, _, _ = self.made(device_profile=profile, match=match)
        functions = [
            r["Properties"]
            for r in Template.from_stack(stack).to_json()["Resources"].values()
            if r["Type"] == "AWS::Lambda::Function"
        ]
        importer, authorizer = (
            next(f["Environment"]["Variables"] for f in functions if f"handlers.{name}." in f["Handler"])
            for name in ("manifest_import", "authorizer")
        )
        shared = (
            Variable.PRODUCT,
            Variable.DEVICE_PROFILE,
            Variable.MATCH_POLICY,
            Variable.REGISTRY_TABLE,
            Variable.REGISTRY_KEY_INDEX,
            Variable.LOG_LEVEL,
        )
        assert {name: importer[name] for name in shared} == {name: authorizer[name] for name in shared}
        assert importer[Variable.DEVICE_PROFILE] == profile.value

    def test_its_key_encrypts_the_bucket_and_its_removal_policy_holds(self) -> None:
        stack, _, _ = self.made(removal_policy=RemovalPolicy.DESTROY)
        (bucket,) = Template.from_stack(stack).find_resources("AWS::S3::Bucket").values()
        assert bucket["DeletionPolicy"] == "Delete"
        (rule,) = bucket["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"

    def test_a_registry_in_its_place_is_refused_with_the_way_that_takes_one(self) -> None:
        stack = Stack(App(context=WITHOUT_BUNDLING), "Line")
        with pytest.raises(InvalidArgumentError, match=r"provisioning: .*into_registry"):
            ManifestImport(stack, "Import", DeviceRegistry(stack, "Registry"))  # type: ignore[arg-type]


class TestSample:
    def sample(self, context: Mapping[str, Any]) -> Template:
        app = App(context={**WITHOUT_BUNDLING, **context})
        return Template.from_stack(SecretFreeStack(app, "Sample", options=SampleOptions.from_context(app.node)))

    @pytest.mark.parametrize("value", ["true", True])
    def test_the_context_key_adds_the_import_and_its_output(self, value: object) -> None:
        template = self.sample({"secretfree:manifest-import": value})
        template.has_output("ManifestBucket", {})
        template.resource_count_is("AWS::S3::BucketPolicy", 1)

    def test_it_is_not_there_by_default(self) -> None:
        self.sample({}).resource_count_is("AWS::S3::Bucket", 0)

    def test_another_value_is_refused_by_the_keys_name(self) -> None:
        with pytest.raises(InvalidArgumentError, match="secretfree:manifest-import"):
            self.sample({"secretfree:manifest-import": "yes"})


def test_a_bucket_is_deleted_with_the_stack_only_on_request() -> None:
    stack, _ = made(removal_policy=RemovalPolicy.DESTROY)
    Template.from_stack(stack).has_resource("AWS::S3::Bucket", {"DeletionPolicy": "Delete"})


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def objects_of(resource: Any) -> set[str]:
    """The part of each ARN that follows the bucket's own."""
    return {r["Fn::Join"][1][-1] if "Fn::Join" in r else "" for r in as_list(resource)}
