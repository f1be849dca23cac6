"""The text of a chain that a record names, for the answer to the device and for the registration.

The text is in the memory of a worker that has seen it, else in the ledger. If the ledger's item is missing or damaged,
the CA gives the chain again with the device's certificate, and the ledger gets a new item. This also serves a record
without a chain, as a version of this software writes that knows no digests.
"""

from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.calls import CallRunner, OutOfTimeError
from secretfree.issuance.chains import Chain
from secretfree.issuance.ports import CertificateIssuer, Ledger, RequestFailedError, ThrottledError, UnreachableError


def with_text(
    chain: Chain | None, reference: str | None, *, ledger: Ledger, issuer: CertificateIssuer, calls: CallRunner
) -> Chain | None:
    """`chain` with its text. `reference`: the certificate's at its CA; None for AWS IoT Core's own CA, without a chain.

    SecretFreeError (`unavailable`) if neither the ledger nor the CA gives the text now: a certificate without its
    chain would be a wrong answer.
    """
    if (chain is None and reference is None) or (chain is not None and chain.pem is not None):
        return chain
    text = None if chain is None else calls.through_ledger(lambda: ledger.chain_text(chain.digest))
    if text is not None:
        return Chain.of(text)
    found = _from_authority(reference, issuer, calls)
    calls.through_ledger(lambda: ledger.keep_chain(found))
    return found


def _from_authority(reference: str | None, issuer: CertificateIssuer, calls: CallRunner) -> Chain:
    try:
        again = None if reference is None else calls.persist("collect", lambda: issuer.collect(reference))
    except (ThrottledError, UnreachableError, RequestFailedError, OutOfTimeError) as error:
        raise _missing(calls) from error
    if again is None or again.chain is None:
        raise _missing(calls)
    return again.chain


def _missing(calls: CallRunner) -> SecretFreeError:
    return SecretFreeError(
        ErrorCode.UNAVAILABLE,
        "the ledger does not have the chain of the certificate's CA, and the CA does not give it",
        reason=Reason.LEDGER_RECORD,
        retry_after=calls.longest_early_wait(),
    )
