"""A device's key in a PKCS#11 token: a secure element, a smart card, an HSM. It never leaves the token.

The CSR is signed in the token, and so is each TLS handshake. It needs the extra `pkcs11`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import pkcs11
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters

from secretfree_device.keys import KeyType, KeyUnavailableError, PrivateKey
from secretfree_device.session import Broker, DeviceSession

_CURVES: Final = {KeyType.EC_P256: "secp256r1", KeyType.EC_P384: "secp384r1"}


@dataclass(frozen=True)
class TokenKey:
    """An elliptic-curve key in a token, found by its label."""

    module: Path
    """The token's PKCS#11 library."""
    token: str
    """Label of the token."""
    label: str
    """Label of the key pair."""
    pin: Callable[[], str] = field(repr=False, compare=False)
    """Returns the user's PIN. It is called only if the token requires the PIN, and never for the public key."""

    def exists(self) -> bool:
        """Whether the token has the key. Raises KeyUnavailableError."""
        try:
            self.public_key()
        except KeyUnavailableError as error:
            if isinstance(error.__cause__, pkcs11.exceptions.NoSuchKey):
                return False
            raise
        return True

    def generate(self, key_type: KeyType = KeyType.EC_P256) -> None:
        """Make the key pair in the token, not extractable.

        Raises: KeyUnavailableError; ValueError for a type that tokens do not support.
        """
        curve = _CURVES.get(key_type)
        if curve is None:
            raise ValueError(f"key type is {key_type.value}; accepted in a token: {', '.join(_CURVES)}")
        with self._session(write=True) as session:
            parameters = session.create_domain_parameters(
                pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}, local=True
            )
            parameters.generate_keypair(
                store=True,
                label=self.label,
                capabilities=pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY,
                public_template={pkcs11.Attribute.PRIVATE: False},
                private_template={pkcs11.Attribute.EXTRACTABLE: False, pkcs11.Attribute.SENSITIVE: True},
            )

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Read the public key from the token, without the PIN. Raises KeyUnavailableError."""
        with self._session(signed_in=False) as session:
            found = session.get_key(object_class=pkcs11.ObjectClass.PUBLIC_KEY, label=self.label)
            key = serialization.load_der_public_key(encode_ec_public_key(found))
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise KeyUnavailableError(f"key {self.label!r} of token {self.token!r} is not an elliptic-curve key")
        return key

    def private_key(self) -> PrivateKey:
        """Return a key for `cryptography` that signs in the token. Raises KeyUnavailableError."""
        return _SigningInToken(self, self.public_key())

    def signature(self, digest: bytes) -> bytes:
        """Sign a digest in the token; return the DER of r and s. Raises KeyUnavailableError."""
        with self._session() as session:
            key = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, label=self.label)
            raw: bytes = key.sign(digest, mechanism=pkcs11.Mechanism.ECDSA)
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))

    def connection(
        self,
        broker: Broker,
        *,
        client_id: str,
        certificate: Path,
        timeout: float,
        connected: Callable[[], None] | None = None,
    ) -> DeviceSession:
        """Return an MQTT session whose handshake is signed in the token, by the AWS IoT Device SDK."""
        from secretfree_device.token_mqtt import TokenConnection

        return TokenConnection(
            broker, self, client_id=client_id, certificate=certificate, timeout=timeout, connected=connected
        )

    @contextmanager
    def _session(self, *, signed_in: bool = True, write: bool = False) -> Iterator[Any]:
        try:
            token = pkcs11.lib(str(self.module)).get_token(token_label=self.token)
            with self._open(token, signed_in=signed_in, write=write) as session:
                yield session
        except (pkcs11.exceptions.PKCS11Error, RuntimeError) as error:
            reason = str(error) or type(error).__name__
            raise KeyUnavailableError(
                f"key {self.label!r} of token {self.token!r} by {self.module}: {reason}"
            ) from error

    def _open(self, token: Any, *, signed_in: bool, write: bool) -> Any:
        if signed_in:
            # A sign-in is valid for the whole process, so an open MQTT session may have signed in already.
            with contextlib.suppress(pkcs11.exceptions.UserAlreadyLoggedIn):
                return token.open(rw=write, user_pin=self.pin())
        return token.open(rw=write)


class _SigningInToken(ec.EllipticCurvePrivateKey):
    """The private key as an object without private bytes."""

    def __init__(self, key: TokenKey, public_key: ec.EllipticCurvePublicKey) -> None:
        self._key = key
        self._public_key = public_key

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        algorithm = signature_algorithm.algorithm
        if isinstance(algorithm, Prehashed):
            return self._key.signature(bytes(data))
        digest = hashes.Hash(algorithm)
        digest.update(data)
        return self._key.signature(digest.finalize())

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public_key

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        return self._public_key.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:  # noqa: ARG002
        raise UnsupportedAlgorithm("the key of a token signs only")

    def private_numbers(self) -> NoReturn:
        raise UnsupportedAlgorithm("the key never leaves its token")

    def private_bytes(self, *_form: Any, **_named: Any) -> NoReturn:
        raise UnsupportedAlgorithm("the key never leaves its token")

    def __copy__(self) -> _SigningInToken:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _SigningInToken:
        return self
