"""The platform's certificate authority: small, local, ECDSA P-256.

The CA and its key live in the state directory (key 0600). Node certificates are for client use only,
with the node's id as their common name, whatever the request asked for: a node cannot name itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from netns_lab.platform.errors import PlatformError

DEFAULT_LIFETIME_SECONDS: Final = 24 * 3600.0
_CA_DAYS: Final = 3650
_SERVER_DAYS: Final = 365
_SKEW: Final = timedelta(minutes=5)
"""How far back the platform's own certificates begin, for nodes whose clocks run behind."""


class RequestError(ValueError):
    """A certificate signing request that is refused; the text says why."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A node's certificate. Times in seconds since the epoch."""

    pem: str
    serial: str
    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key and its certificate chain, in PEM."""

    key_pem: bytes
    certificate_pem: bytes

    def __repr__(self) -> str:
        return "KeyPair(hidden)"


@dataclass(slots=True, eq=False)
class Authority:
    """The CA. `lifetime` of node certificates in seconds; may be changed while it runs."""

    certificate: x509.Certificate
    lifetime: float
    _key: ec.EllipticCurvePrivateKey

    @property
    def ca_pem(self) -> str:
        """The CA's certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, node_id: str, csr_pem: str, now: float) -> Issued:
        """A client certificate for a request; raises `RequestError`."""
        public_key = _requested_key(csr_pem)
        # Backdated by a twentieth at most: a short life must still be mostly in front of the node,
        # which renews at two thirds of it.
        start = datetime.fromtimestamp(now - min(30.0, self.lifetime / 20), UTC)
        end = datetime.fromtimestamp(now + self.lifetime, UTC)
        certificate = (
            _builder(node_id, public_key, self.certificate.subject, start, end)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Issued(
            pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            serial=f"{certificate.serial_number:x}",
            not_before=certificate.not_valid_before_utc.timestamp(),
            not_after=certificate.not_valid_after_utc.timestamp(),
        )

    def server_pair(self, names: Iterable[str], now: float) -> KeyPair:
        """A fresh key and certificate for the platform's own servers, for these hosts."""
        key = ec.generate_private_key(ec.SECP256R1())
        start = datetime.fromtimestamp(now, UTC) - _SKEW
        alternatives = [_general_name(name) for name in dict.fromkeys((*names, "localhost"))]
        certificate = (
            _builder(
                "powernode-platform",
                key.public_key(),
                self.certificate.subject,
                start,
                start + timedelta(days=_SERVER_DAYS),
            )
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return KeyPair(_key_pem(key), certificate.public_bytes(serialization.Encoding.PEM))


def open_authority(directory: Path, lifetime: float, now: float) -> Authority:
    """The CA of a state directory; made when there is none. Half of one is refused."""
    certificate_path, key_path = directory / "ca.pem", directory / "ca-key.pem"
    if certificate_path.exists() != key_path.exists():
        raise PlatformError(
            "the certificate authority is incomplete",
            which=f"{certificate_path}, {key_path}",
            action="restore the missing file, or remove both and enrol all nodes again",
        )
    if not certificate_path.exists():
        _make(certificate_path, key_path, now)
    key = serialization.load_pem_private_key(key_path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PlatformError(
            "the certificate authority's key is not an elliptic curve key",
            which=str(key_path),
            action="restore it, or remove both files and enrol all nodes again",
        )
    certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
    return Authority(certificate, lifetime, key)


def _make(certificate_path: Path, key_path: Path, now: float) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.fromtimestamp(now, UTC) - _SKEW
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Powernode platform CA")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=_CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    descriptor = os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_key_pem(key))
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _builder(
    name: str,
    public_key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    start: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )


def _requested_key(csr_pem: str) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        signed = request.is_signature_valid
        key = request.public_key()
    except (ValueError, TypeError, InvalidSignature) as error:
        raise RequestError("csr_pem: must be a PKCS #10 request in PEM") from error
    if not signed:
        raise RequestError("csr_pem: must be signed by its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise RequestError("csr_pem: must be for an ECDSA P-256 key")
    return key


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
