# SPDX-License-Identifier: Apache-2.0
"""Certificates for these tests, made in memory."""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from functools import cache

from asn1crypto import cms
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from xpu_emulator.https import ServerIdentity

NOW = dt.datetime.now(dt.UTC)


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, and those above it, root last."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    above: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def identity(self) -> ServerIdentity:
        """Without the root."""
        chain = (self.certificate, *self.above[:-1])
        return ServerIdentity(
            b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain),
            self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )


def issue(
    name: str,
    issuer: Issued | None = None,
    *,
    ca: bool = False,
    serial_number: str | None = None,
    dns_names: tuple[str, ...] = (),
    addresses: tuple[str, ...] = (),
    expired: bool = False,
) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if serial_number is not None:
        attributes.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, serial_number))
    subject = x509.Name(attributes)
    authority = issuer.key if issuer is not None else key
    end = NOW - dt.timedelta(days=1) if expired else NOW + dt.timedelta(days=30)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - dt.timedelta(days=2))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
    if ca:
        usage = dict.fromkeys(
            (
                "digital_signature",
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = builder.add_extension(
            x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True
        )
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(authority, SHA256())
    above = () if issuer is None else (issuer.certificate, *issuer.above)
    return Issued(certificate, key, above)


def degenerate(*issued: Issued) -> bytes:
    """A SignedData with certificates and no signer."""
    return bytes(
        cms.ContentInfo(
            {
                "content_type": "signed_data",
                "content": cms.SignedData(
                    {
                        "version": "v1",
                        "digest_algorithms": [],
                        "encap_content_info": {"content_type": "data"},
                        "certificates": [asn1_x509.Certificate.load(one.der) for one in issued],
                        "signer_infos": [],
                    }
                ),
            }
        ).dump()
    )


@dataclass(frozen=True)
class TestPki:
    """A server authority and a device authority with an intermediate each."""

    __test__ = False

    server_root: Issued
    server: Issued
    device_root: Issued
    device_ca: Issued
    device: Issued


@cache
def pki() -> TestPki:
    server_root = issue("Server root", ca=True)
    server_ca = issue("Server CA", server_root, ca=True)
    device_root = issue("Device root", ca=True)
    device_ca = issue("Device CA", device_root, ca=True)
    return TestPki(
        server_root,
        issue("server", server_ca, dns_names=("localhost",), addresses=("127.0.0.1",)),
        device_root,
        device_ca,
        issue("device", device_ca, serial_number="XPU-1"),
    )
