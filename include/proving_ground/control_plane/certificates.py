"""The certificates of one cluster: a CA, the API server's own, and the administrator's."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LIFETIME = dt.timedelta(days=30)


@dataclass(frozen=True)
class Certificates:
    """PEM files of one cluster, all inside one directory."""

    directory: Path

    @property
    def ca(self) -> Path:
        """What signs all of them."""
        return self.directory / "ca.crt"

    def certificate(self, holder: str) -> Path:
        """The certificate of a client, or of the server."""
        return self.directory / f"{holder}.crt"

    def key(self, holder: str) -> Path:
        """The private key that belongs to it."""
        return self.directory / f"{holder}.key"


def write(directory: Path, cluster: str, clients: Iterable[str]) -> Certificates:
    """Make a fresh CA and what it signs.

    :param directory: where the PEM files go; keys are readable by the owner alone.
    :param cluster: becomes the CA's common name.
    :param clients: user names; each may do everything, the audit log tells them apart.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = Certificates(directory)
    ca_key = _key()
    ca_name = _name(f"{cluster}-ca")
    _write(files.ca, _pem(_certificate(ca_name, ca_name, ca_key, ca_key, authority=True)))
    _write(files.key("service-account"), _key_pem(_key()))
    # system:masters is the group that RBAC lets do everything.
    holders = {"server": _name("kube-apiserver")} | {one: _name(one, "system:masters") for one in clients}
    for holder, subject in holders.items():
        key = _key()
        _write(files.certificate(holder), _pem(_certificate(subject, ca_name, key, ca_key)))
        _write(files.key(holder), _key_pem(key))
    return files


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(common: str, organization: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    authority: bool = False,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        # Python's own TLS verification (VERIFY_X509_STRICT since 3.13) wants both key identifiers.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(_key_usage(authority=authority), critical=True)
    )
    if not authority:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        ).add_extension(_loopback_names(), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _loopback_names() -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.DNSName("localhost"),
            x509.DNSName("kubernetes.default"),
        ]
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
