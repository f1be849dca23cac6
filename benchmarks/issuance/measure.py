"""One measurement in an interpreter of its own: reads a job as JSON on stdin, writes figures as JSON on stdout.

Before the clock starts, this module imports only what the measured code would import itself.
"""

import contextlib
import gc
import io
import json
import sys
import time


class Context:
    """The part of Lambda's context object that the handlers use."""

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Milliseconds."""
        return 29_000


def cold(job: dict) -> dict:
    """Import a module and, where it is a handler, serve one request. Milliseconds."""
    before = set(sys.modules)
    cpu, began = time.process_time(), time.perf_counter()
    module = __import__(job["module"], fromlist=["_"])
    cpu_imported, imported = time.process_time(), time.perf_counter()
    if job.get("client"):
        import boto3

        boto3.client("dynamodb")
    if job["events"]:
        with contextlib.redirect_stdout(io.StringIO()):
            module.handler(job["events"][0], Context())
    return {
        "import_cpu": (cpu_imported - cpu) * 1e3,
        "total_cpu": (time.process_time() - cpu) * 1e3,
        "import_wall": (imported - began) * 1e3,
        "modules": len(set(sys.modules) - before),
    }


def warm(job: dict) -> dict:
    """Serve the events one after another. Milliseconds of each; the first ones only warm up."""
    module = __import__(job["module"], fromlist=["_"])
    return _timed(lambda event: module.handler(event, Context()), job)


def floor(job: dict) -> dict:
    """One signature check and one bare SDK call for each event. Milliseconds of each."""
    import base64

    import boto3
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    client = boto3.client("dynamodb")

    def one(event: dict) -> None:
        csr = x509.load_pem_x509_csr(base64.b64decode(event["multiValueHeaders"]["device-csr"][0]))
        csr.public_key().verify(csr.signature, csr.tbs_certrequest_bytes, ec.ECDSA(hashes.SHA256()))
        client.get_item(TableName=job["table"], Key={"device-id": {"S": event["device"]}}, ConsistentRead=True)

    return _timed(one, job)


def own_calls(job: dict) -> dict:
    """A new device's six calls in a row, bare. Milliseconds of each round."""
    import base64

    import boto3

    dynamodb, authority, iot = boto3.client("dynamodb"), boto3.client("acm-pca"), boto3.client("iot")

    def one(event: dict) -> None:
        csr, device = base64.b64decode(event["multiValueHeaders"]["device-csr"][0]), {"S": event["device"]}
        dynamodb.get_item(TableName=job["table"], Key={"device-id": device}, ConsistentRead=True)
        dynamodb.put_item(TableName=job["ledger"], Item={"device-id": device, "record": {"S": "benchmark"}})
        issued = authority.issue_certificate(
            CertificateAuthorityArn=job["authority"],
            Csr=csr,
            SigningAlgorithm="SHA256WITHECDSA",
            TemplateArn=job["template"],
            ApiPassthrough={"Subject": {"CommonName": event["device"]}},
            Validity={"Type": "DAYS", "Value": 365},
        )["CertificateArn"]
        certificate = authority.get_certificate(CertificateAuthorityArn=job["authority"], CertificateArn=issued)
        registered = iot.register_certificate_without_ca(certificatePem=certificate["Certificate"], status="ACTIVE")
        iot.attach_policy(policyName="widget", target=registered["certificateArn"])

    return _timed(one, job)


def _outcome(answer: dict | None) -> str:
    if answer is None:
        return "ok"
    return str(answer.get("statusCode") or answer["policyDocument"]["Statement"][0]["Effect"])


def _timed(serve, job: dict) -> dict:
    walls, cpus, spans, statuses = [], [], [], {}
    gc.collect()
    for event in job["events"]:
        cpu, wall = time.process_time(), time.perf_counter()
        began = time.monotonic()
        with contextlib.redirect_stdout(io.StringIO()):
            answer = serve(event)
        spans.append((began, time.monotonic()))
        walls.append((time.perf_counter() - wall) * 1e3)
        # Work that the answer did not wait for belongs to the request too: let it end before its CPU time is read.
        time.sleep(job["pause"])
        cpus.append((time.process_time() - cpu) * 1e3)
        status = _outcome(answer)
        statuses[status] = statuses.get(status, 0) + 1
    skip = job["warm_up"]
    return {"wall": walls[skip:], "cpu": cpus[skip:], "spans": spans[skip:], "statuses": statuses}


if __name__ == "__main__":
    given = json.load(sys.stdin)
    result = {"cold": cold, "warm": warm, "floor": floor, "own calls": own_calls}[given["mode"]](given)
    json.dump(result, sys.stdout)
