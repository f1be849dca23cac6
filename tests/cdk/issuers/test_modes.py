"""IssuanceMode: who may do what when issuances wait in a queue, and how the pace keeps to the quotas."""

import json

import pytest
from aws_cdk import App, Duration, Stack
from aws_cdk.assertions import Template
from cdk_iot_secretfree import (
    InvalidArgumentError,
    IssuanceMode,
    IssuanceQueue,
    Issuer,
    Retirement,
    SecretFreeProvisioning,
)
from secretfree.config import QueuedIssuerConfig, QueueingConfig

ISSUERS = ("private-ca", "iot-core")
TAKE = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"}


@pytest.fixture(scope="module")
def queued(sample_with):
    return sample_with(issuance="queued")


@pytest.fixture(scope="module")
def line():
    stack = Stack(App(context={"aws:cdk:bundling-stacks": []}), "Stack")
    return SecretFreeProvisioning(
        stack,
        "Provisioning",
        product="widget",
        issuers=[Issuer.iot_core()],
        issuance=IssuanceMode.queued(),
        retirement=Retirement.AT_END,
    )


def one_issuer(**options):
    return lambda stack: SecretFreeProvisioning(
        stack,
        "P",
        product="widget",
        issuers=[Issuer.iot_core()],
        issuance=IssuanceMode.queued(**options),
        retirement=Retirement.AT_END,
    )


def issuing_queues(made):
    """Logical id and properties of the issuers' queues that have dead letters."""
    return {
        name: resource["Properties"]
        for name, resource in made.of_type("AWS::SQS::Queue").items()
        if "RedrivePolicy" in resource["Properties"] and "Retirement" not in name
    }


def mappings_of_queues(made):
    """The mappings of the workers; the revoker's is of a stream, the retirer's of the connects."""
    mappings = made.of_type("AWS::Lambda::EventSourceMapping").items()
    return [
        mapping["Properties"]
        for name, mapping in mappings
        if "StartingPosition" not in mapping["Properties"] and "Retirement" not in name
    ]


class TestRoles:
    @pytest.mark.parametrize("issuer", ISSUERS)
    def test_the_front_reads_and_marks_the_ledger_and_sends_and_can_issue_nothing(self, queued, issuer):
        assert queued.actions("queue_front", issuer) == {
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "iot:DescribeCertificate",
            "sqs:SendMessage",
        }

    @pytest.mark.parametrize("issuer", ISSUERS)
    def test_the_worker_may_do_what_the_direct_issuer_may_and_take_messages(self, queued, sample, issuer):
        assert queued.actions("queue_worker", issuer) == sample.actions("issuer", issuer) | TAKE

    def test_no_direct_issuer_is_left(self, queued):
        handlers = {f["Properties"]["Handler"] for f in queued.of_type("AWS::Lambda::Function").values()}
        assert "secretfree.handlers.issuer.handler" not in handlers

    def test_the_api_calls_the_fronts_alone(self, queued):
        workers = {
            name
            for name, f in queued.of_type("AWS::Lambda::Function").items()
            if f["Properties"]["Handler"] == "secretfree.handlers.queue_worker.handler"
        }
        assert len(workers) == 2
        for permission in queued.of_type("AWS::Lambda::Permission").values():
            assert permission["Properties"]["FunctionName"]["Fn::GetAtt"][0] not in workers

    def test_each_issuer_has_a_queue_that_its_own_front_alone_may_send_to(self, queued):
        roles = {issuer: queued.function("queue_front", issuer)["Role"]["Fn::GetAtt"][0] for issuer in ISSUERS}
        admitted = set()
        for name, policy in queued.of_type("AWS::SQS::QueuePolicy").items():
            for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
                if statement["Action"] == "sqs:SendMessage" and "Retirement" not in name:
                    assert (statement["Effect"], statement["Principal"]) == ("Deny", {"AWS": "*"})
                    admitted.add(statement["Condition"]["ArnNotEquals"]["aws:PrincipalArn"]["Fn::GetAtt"][0])
        assert admitted == set(roles.values())


class TestQueues:
    def test_every_queue_is_encrypted_and_takes_tls_alone(self, queued):
        queues = queued.of_type("AWS::SQS::Queue")
        assert len(queues) == 4 + 1 + 2  # the revoker's dead letters, the connects and theirs
        assert all(queue["Properties"]["SqsManagedSseEnabled"] is True for queue in queues.values())
        over_tls = {
            ref["Ref"]
            for policy in queued.of_type("AWS::SQS::QueuePolicy").values()
            for statement in policy["Properties"]["PolicyDocument"]["Statement"]
            if statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}
            for ref in policy["Properties"]["Queues"]
        }
        assert over_tls == set(queues)

    def test_what_fails_again_and_again_is_kept_apart(self, queued):
        for queue in issuing_queues(queued).values():
            assert queue["RedrivePolicy"]["maxReceiveCount"] == 20
            assert queue["MessageRetentionPeriod"] == 4 * 86_400
        kept = {
            resource["Properties"]["MessageRetentionPeriod"]
            for name, resource in queued.of_type("AWS::SQS::Queue").items()
            if "RedrivePolicy" not in resource["Properties"]
        }
        assert kept == {14 * 86_400}

    def test_a_message_is_hidden_six_times_as_long_as_the_worker_may_run(self, queued):
        timeout = queued.function("queue_worker", "private-ca")["Timeout"]
        assert timeout < 45  # a lease of the ledger
        assert {queue["VisibilityTimeout"] for queue in issuing_queues(queued).values()} == {6 * timeout}

    def test_the_worker_takes_one_message_and_reports_which_failed(self, queued):
        for mapping in mappings_of_queues(queued):
            assert mapping["BatchSize"] == 1
            assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]

    def test_queues_stay_and_go_with_the_tables(self, queued, sample_with):
        assert {q["DeletionPolicy"] for q in queued.of_type("AWS::SQS::Queue").values()} == {"Retain"}
        gone = sample_with(issuance="queued", removal="destroy")
        assert {q["DeletionPolicy"] for q in gone.of_type("AWS::SQS::Queue").values()} == {"Delete"}


class TestPace:
    @pytest.mark.parametrize(
        ("options", "workers", "interval"),
        [
            ({}, 15, 1_500),
            ({"rate": 1}, 2, 2_000),
            ({"rate": 100}, 150, 1_500),
            ({"rate": 1_000}, 1_000, 1_000),
            ({"max_concurrency": 2}, 2, 200),
            ({"max_concurrency": 30}, 30, 3_000),
        ],
    )
    def test_all_workers_together_keep_to_the_rate(self, synthesise, options, workers, interval):
        made = synthesise(one_issuer(**options))
        (mapping,) = mappings_of_queues(made)
        assert mapping["ScalingConfig"] == {"MaximumConcurrency": workers}
        told = made.environment("queue_worker")["SECRETFREE_ISSUANCE_INTERVAL_MILLISECONDS"]
        assert told == str(interval)
        assert workers / interval * 1_000 <= options.get("rate", 10)

    def test_two_issuers_share_the_rate(self, queued):
        for issuer in ISSUERS:
            environment = queued.environment("queue_worker", issuer)
            assert environment["SECRETFREE_ISSUANCE_INTERVAL_MILLISECONDS"] == "3000"

    def test_a_pause_an_issuance_and_its_last_call_fit_into_the_worker_s_time(self, queued):
        pause = max(
            int(queued.environment("queue_worker", issuer)["SECRETFREE_ISSUANCE_INTERVAL_MILLISECONDS"]) / 1_000
            for issuer in ISSUERS
        )
        assert pause + 20 + 6 <= queued.function("queue_worker", "private-ca")["Timeout"]


class TestEnvironment:
    @pytest.mark.parametrize("issuer", ISSUERS)
    def test_the_front_takes_its_environment_and_is_told_nothing_of_issuing(self, queued, issuer):
        environment = queued.deployed_environment("queue_front", issuer)
        config = QueueingConfig.from_environment(environment)
        assert config.issuer == issuer
        assert config.retention.days == 4
        assert not {"SECRETFREE_ISSUERS", "SECRETFREE_POLICY_NAME", "SECRETFREE_SUBJECT"} & set(environment)

    @pytest.mark.parametrize("issuer", ISSUERS)
    def test_the_worker_takes_its_environment(self, queued, issuer):
        config = QueuedIssuerConfig.from_environment(queued.deployed_environment("queue_worker", issuer))
        assert config.issuing.issuer.name == issuer
        assert config.most_receives == 20

    @pytest.mark.parametrize("issuer", ISSUERS)
    def test_front_and_worker_of_an_issuer_share_a_queue(self, queued, issuer):
        urls = {
            json.dumps(queued.environment(handler, issuer)["SECRETFREE_QUEUE_URL"])
            for handler in ("queue_front", "queue_worker")
        }
        assert len(urls) == 1


class TestFace:
    def test_queues_are_found_by_their_issuer(self, line):
        (queue,) = line.issuance_queues.values()
        assert isinstance(queue, IssuanceQueue)
        assert set(line.issuance_queues) == set(line.issuer_functions) == {"iot-core"}
        assert queue.worker_function is not line.issuer_functions["iot-core"]
        assert queue.queue is not queue.dead_letters

    @pytest.mark.parametrize(
        ("metric", "name"),
        [
            ("metric_waiting", "ApproximateNumberOfMessagesVisible"),
            ("metric_oldest_age", "ApproximateAgeOfOldestMessage"),
            ("metric_dead_letters", "ApproximateNumberOfMessagesVisible"),
        ],
    )
    def test_its_metrics_are_those_of_sqs(self, line, metric, name):
        made = getattr(line.issuance_queues["iot-core"], metric)(period=Duration.minutes(1))
        assert (made.namespace, made.metric_name, made.statistic) == ("AWS/SQS", name, "Maximum")
        assert made.period.to_seconds() == 60

    def test_direct_has_no_queue(self, synthesise):
        made = []
        template = synthesise(
            lambda stack: made.append(
                SecretFreeProvisioning(
                    stack,
                    "P",
                    product="widget",
                    issuers=[Issuer.iot_core()],
                    issuance=IssuanceMode.direct(),
                    retirement=Retirement.AT_END,
                )
            )
        )
        assert not issuing_queues(template)
        assert dict(made[0].issuance_queues) == {}

    def test_two_product_lines_queue_in_one_stack(self):
        stack = Stack(App(context={"aws:cdk:bundling-stacks": []}), "Stack")
        for name in ("one", "two"):
            SecretFreeProvisioning(
                stack,
                name,
                product=name,
                issuers=[Issuer.iot_core()],
                issuance=IssuanceMode.queued(),
                retirement=Retirement.AT_END,
            )
        Template.from_stack(stack).resource_count_is("AWS::SQS::Queue", 2 * (2 + 1))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"rate": 0}, "rate: '0' was given; accepted: a whole number from 1 to 1000 certificates a second"),
            ({"max_concurrency": 1}, "max_concurrency: '1' was given; accepted: a whole number from 2 to 30 workers"),
            ({"rate": 20, "max_concurrency": 61}, "max_concurrency: '61' was given; accepted: .* 2 to 60 workers"),
            ({"retention": Duration.minutes(5)}, "retention: '5 minutes' was given; accepted: 1 hour to 14 days"),
            ({"retention": Duration.days(15)}, "retention: '15 days' was given; accepted: 1 hour to 14 days"),
        ],
    )
    def test_an_argument_that_cannot_work_is_named_with_what_is_accepted(self, options, message):
        with pytest.raises(InvalidArgumentError, match=message):
            IssuanceMode.queued(**options)

    def test_a_mode_is_an_issuance_mode(self, stack):
        with pytest.raises(InvalidArgumentError, match="issuance: 'queued' was given"):
            SecretFreeProvisioning(stack, "P", product="widget", issuers=[Issuer.iot_core()], issuance="queued")
