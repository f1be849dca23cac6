"""Logs by allow-list, metrics in embedded metric format."""

import io
import json
from typing import Any

import pytest
from secretfree.clock import Clock
from secretfree.contract import METRIC_NAMESPACE, Dimension, LogLevel, Metric
from secretfree.errors import ErrorCode
from secretfree.telemetry import LOG_FIELDS, Telemetry


class Recorder:
    """A telemetry and what it wrote."""

    def __init__(self, clock: Clock, **settings: Any) -> None:
        self._stream = io.StringIO()
        self.telemetry = Telemetry("widget", clock=clock, stream=self._stream, **settings)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


@pytest.fixture
def recorder(clock: Clock) -> Recorder:
    return Recorder(clock)


def test_a_log_line_says_when_what_and_for_which_product(recorder: Recorder) -> None:
    recorder.telemetry.log("denied", request_id="id", code=ErrorCode.NOT_AUTHORIZED, status=403, detail=None)
    assert recorder.lines == [
        {
            "timestamp": "2026-01-02T03:04:05.678+00:00",
            "level": "INFO",
            "event": "denied",
            "product": "widget",
            "requestId": "id",
            "code": "not-authorized",
            "status": 403,
        }
    ]


def test_an_issuer_is_named_in_its_lines(clock: Clock) -> None:
    recorder = Recorder(clock, issuer="iot-core")
    recorder.telemetry.log("issued")
    assert recorder.lines[0]["issuer"] == "iot-core"


def test_a_field_that_is_not_on_the_list_is_an_error_outside_lambda(recorder: Recorder) -> None:
    with pytest.raises(TypeError, match="csr"):
        recorder.telemetry.log("denied", csr="-----BEGIN")
    assert recorder.lines == []


def test_in_lambda_such_a_field_is_dropped_by_name(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "authorizer")
    recorder = Recorder(clock)
    recorder.telemetry.log("denied", csr="-----BEGIN", request_id="id")
    assert recorder.lines[0]["droppedFields"] == ["csr"]
    assert "BEGIN" not in json.dumps(recorder.lines)


@pytest.mark.parametrize(
    "word", ["csr", "header", "headers", "event", "key", "public_key", "body", "common_name", "certificate"]
)
def test_the_list_has_no_field_for_what_is_never_logged(word: str) -> None:
    assert word not in LOG_FIELDS


def test_a_line_below_the_level_is_not_written(clock: Clock) -> None:
    recorder = Recorder(clock, level=LogLevel.ERROR)
    recorder.telemetry.log("denied", level=LogLevel.WARNING)
    recorder.telemetry.log("failed", level=LogLevel.ERROR)
    assert [line["event"] for line in recorder.lines] == ["failed"]


def test_a_line_break_in_a_value_starts_no_line(recorder: Recorder) -> None:
    recorder.telemetry.log("denied", detail="one\n{}")
    assert len(recorder.lines) == 1


def test_a_reason_is_a_dimension_beside_the_product(recorder: Recorder) -> None:
    recorder.telemetry.count(Metric.DENIED, dimensions={Dimension.REASON: "bad-signature"})
    recorder.telemetry.flush()
    assert recorder.lines == [
        {
            "_aws": {
                "Timestamp": 1767323045678,
                "CloudWatchMetrics": [
                    {
                        "Namespace": METRIC_NAMESPACE,
                        "Dimensions": [[Dimension.PRODUCT], [Dimension.PRODUCT, Dimension.REASON]],
                        "Metrics": [{"Name": Metric.DENIED, "Unit": "Count"}],
                    }
                ],
            },
            Dimension.PRODUCT: "widget",
            Dimension.REASON: "bad-signature",
            Metric.DENIED: 1.0,
        }
    ]


def test_counts_of_one_kind_are_summed_into_one_line(clock: Clock) -> None:
    recorder = Recorder(clock, issuer="private-ca")
    recorder.telemetry.count(Metric.ISSUED)
    recorder.telemetry.count(Metric.ISSUED, 2)
    recorder.telemetry.count(Metric.THROTTLED)
    recorder.telemetry.flush()
    (line,) = recorder.lines
    assert (line[Metric.ISSUED], line[Metric.THROTTLED], line[Dimension.ISSUER]) == (3.0, 1.0, "private-ca")
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [
        [Dimension.PRODUCT],
        [Dimension.PRODUCT, Dimension.ISSUER],
    ]


def test_a_count_without_more_has_the_product_alone(recorder: Recorder) -> None:
    recorder.telemetry.count(Metric.ALLOWED)
    recorder.telemetry.flush()
    assert recorder.lines[0]["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [[Dimension.PRODUCT]]


def test_a_stage_is_measured_in_milliseconds_also_when_it_fails(recorder: Recorder, clock: Any) -> None:
    for seconds in (0.0125, 0.25):
        with pytest.raises(ValueError, match="no"), recorder.telemetry.stage("sign"):  # noqa: PT012
            clock.advance(seconds)
            raise ValueError("no")
    recorder.telemetry.flush()
    (line,) = recorder.lines
    assert (line[Metric.STAGE_LATENCY], line[Dimension.STAGE]) == ([12.5, 250.0], "sign")
    definition = line["_aws"]["CloudWatchMetrics"][0]
    assert definition["Dimensions"] == [[Dimension.PRODUCT, Dimension.STAGE]]
    assert definition["Metrics"] == [{"Name": Metric.STAGE_LATENCY, "Unit": "Milliseconds"}]


def test_a_flush_leaves_nothing_for_the_next_invocation(recorder: Recorder) -> None:
    recorder.telemetry.count(Metric.ALLOWED)
    recorder.telemetry.flush()
    recorder.telemetry.flush()
    assert len(recorder.lines) == 1


def test_a_metric_of_another_name_or_two_dimensions_is_an_error(recorder: Recorder) -> None:
    with pytest.raises(ValueError, match="Alowed"):
        recorder.telemetry.count("Alowed")
    with pytest.raises(TypeError, match="at most one"):
        recorder.telemetry.count(Metric.DENIED, dimensions={Dimension.REASON: "x", Dimension.ISSUER: "y"})


def test_without_a_stream_the_lines_go_to_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    Telemetry("widget").log("allowed")
    assert json.loads(capsys.readouterr().out)["event"] == "allowed"


def test_a_call_is_counted_by_operation_alone_and_a_throttled_one_twice():
    stream = io.StringIO()
    telemetry = Telemetry("widget", "private-ca", stream=stream)
    telemetry.call("RegisterCertificate", throttled=False)
    telemetry.call("RegisterCertificate", throttled=True)
    telemetry.flush()
    (line,) = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [[Dimension.PRODUCT, Dimension.CALL]]
    assert (line[Dimension.CALL], line[Metric.CALLS], line[Metric.CALLS_THROTTLED]) == ("RegisterCertificate", 2, 1)
