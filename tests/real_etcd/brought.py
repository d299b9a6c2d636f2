"""Certificates that an operator brings: made with `cryptography` alone, in cfssl's file names."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


class BroughtCa:
    """A CA of the operator's; NAME.pem and NAME-key.pem appear in the folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = _common_name(f"the operator's {name}")
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self._write(name, self.key, self.subject, constraints)

    def issue(
        self,
        name: str,
        *,
        usages: Iterable[x509.ObjectIdentifier],
        names: Iterable[str] = (),
        addresses: Iterable[str] = (),
    ) -> None:
        """NAME.pem and NAME-key.pem, with NAME as common name."""
        extensions: list[x509.ExtensionType] = [x509.ExtendedKeyUsage(usages)]
        sans = [
            *(x509.DNSName(dns_name) for dns_name in names),
            *(x509.IPAddress(ip_address(address)) for address in addresses),
        ]
        if sans:
            extensions.append(x509.SubjectAlternativeName(sans))
        key = ec.generate_private_key(ec.SECP256R1())
        self._write(name, key, _common_name(name), *extensions)

    def _write(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        subject: x509.Name,
        *extensions: x509.ExtensionType,
    ) -> None:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=365))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        (self.folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        (self.folder / f"{name}-key.pem").write_bytes(
            # SEC1, as cfssl writes it: imagegen turns it into PKCS#8.
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
