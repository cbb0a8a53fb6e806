"""Keys, certificate signing requests and certificates: the only place that reads X.509.

`cryptography.x509` is loaded when it is first needed: it costs memory, and a running agent needs it for
a few milliseconds in weeks. Keys are ECDSA P-256 in PKCS #8, requests PKCS #10 (RFC 2986).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from powernode_agent.platform.errors import CredentialsError
from powernode_agent.platform.identity import Validity


@dataclass(frozen=True, slots=True)
class KeyAndRequest:
    """A new private key, and the request that asks for a certificate for it. Both PEM."""

    key_pem: str = field(repr=False)
    csr_pem: str = field(repr=False)


KeyMaker = Callable[[], KeyAndRequest]


def make_key() -> KeyAndRequest:
    """A new ECDSA P-256 key from the system's randomness, and a request signed by it.

    The subject is empty: the platform takes the name from the token or the certificate, never from
    the request.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
    )
    return KeyAndRequest(
        key_pem=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        csr_pem=request.public_bytes(serialization.Encoding.PEM).decode(),
    )


def validity(certificate_pem: str) -> Validity:
    """The life of the first certificate in `certificate_pem`. Raises `CredentialsError`."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    except ValueError as error:
        raise _malformed("certificate") from error
    return Validity(
        certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    )


def check_belongs(certificate_pem: str, key_pem: str, ca_pem: str, node_id: str) -> None:
    """Raises `CredentialsError` unless what the platform sent can be used with our key.

    Checked before anything is stored: a certificate for another key would lock the node out with its
    next start, when the old identity is gone already.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.x509.oid import NameOID

    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    except ValueError as error:
        raise _malformed("certificate") from error
    try:
        x509.load_pem_x509_certificates(ca_pem.encode())
    except ValueError as error:
        raise _malformed("CA") from error
    key = serialization.load_pem_private_key(key_pem.encode(), password=None)
    ours = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    theirs = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    if ours != theirs:
        raise CredentialsError(
            "the platform's certificate is for another key",
            expected="the key of the request",
            action="report it to the platform's operator",
        )
    names = [a.value for a in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [node_id]:
        raise CredentialsError(
            "the platform's certificate is for another node",
            value=", ".join(str(name)[:64] for name in names) or "no common name",
            expected=node_id,
            action="report it to the platform's operator",
        )


def _malformed(what: str) -> CredentialsError:
    return CredentialsError(
        f"the {what} cannot be read", expected="PEM", action="report it to the platform's operator"
    )
