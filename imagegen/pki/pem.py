"""Certificates and private keys as PEM text: reading, writing, and what a certificate says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

Address: TypeAlias = IPv4Address | IPv6Address
San: TypeAlias = str | Address
PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
Extension = TypeVar("Extension", bound=x509.ExtensionType)

KEY_MAKERS: Mapping[str, Callable[[], PrivateKey]] = {
    "ecdsa-p256": partial(ec.generate_private_key, ec.SECP256R1()),
    "ecdsa-p384": partial(ec.generate_private_key, ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "rsa-2048": partial(rsa.generate_private_key, 65537, 2048),
    "rsa-3072": partial(rsa.generate_private_key, 65537, 3072),
    "rsa-4096": partial(rsa.generate_private_key, 65537, 4096),
}

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


#: How the name of a private key's file ends, wherever this program writes one.
KEY_ENDING = "-key.pem"


def certificate_file(pair: str) -> str:
    """The certificate's file in a pair of files that goes by one name."""
    return f"{pair}.pem"


def key_file(pair: str) -> str:
    """The private key's file in a pair of files that goes by one name."""
    return f"{pair}{KEY_ENDING}"


def _blocks(text: str) -> list[tuple[str, bytes]]:
    blocks = [(block[1], block[0].encode()) for block in _BLOCK.finditer(text)]
    if not blocks:
        raise ValueError("is not PEM")
    return blocks


def _held(blocks: Iterable[tuple[str, bytes]]) -> str:
    return ", ".join(dict.fromkeys(label.lower() for label, _ in blocks))


def certificates_in(text: str) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM text; ValueError says why there are none."""
    blocks = _blocks(text)
    found = [block for label, block in blocks if label == "CERTIFICATE"]
    if not found:
        raise ValueError(f"holds no certificate, only: {_held(blocks)}")
    try:
        certificates = tuple(map(x509.load_pem_x509_certificate, found))
        for certificate in certificates:
            # All these are decoded only when asked for; asked here, they fail here.
            _ = (certificate.extensions, certificate.subject, certificate.issuer)
            _ = (certificate.public_key(), certificate.signature_hash_algorithm)
    except Exception:  # what else OpenSSL cannot take, cryptography raises as InternalError
        raise ValueError("holds a certificate that cannot be decoded") from None
    return certificates


def private_key_in(text: str, passphrase: bytes | None = None) -> PrivateKey:
    """The private key of a PEM text, as PKCS#8, SEC1 or PKCS#1.

    Raises:
        ValueError: why there is none; never with a part of the text.
    """
    blocks = _blocks(text)
    found = [block for label, block in blocks if label.endswith("PRIVATE KEY")]
    if not found:
        raise ValueError(f"holds no private key, only: {_held(blocks)}")
    encrypted = is_encrypted(text)
    if encrypted and passphrase is None:
        raise ValueError("holds an encrypted private key")
    try:
        key = load_pem_private_key(found[0], passphrase if encrypted else None)
    except Exception:  # as for certificates
        reason = "which the passphrase does not open" if encrypted else "that cannot be decoded"
        raise ValueError(f"holds a private key {reason}") from None
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        return key
    raise ValueError("holds a private key that is not RSA, ECDSA or Ed25519")


def is_encrypted(text: str) -> bool:
    """Whether a private key in the text needs a passphrase (PKCS#8, or OpenSSL's older way)."""
    return "-----BEGIN ENCRYPTED PRIVATE KEY-----" in text or "Proc-Type: 4,ENCRYPTED" in text


def certificates_pem(certificates: Iterable[x509.Certificate]) -> str:
    """Certificates one after another, as PEM text."""
    return "".join(item.public_bytes(Encoding.PEM).decode() for item in certificates)


def revoked_in(crl_pem: str | None) -> Mapping[int, datetime]:
    """The serials that a revocation list names, and since when; none without a list.

    Raises:
        ValueError: it cannot be decoded.
    """
    if crl_pem is None:
        return {}
    entries = x509.load_pem_x509_crl(crl_pem.encode())
    return {entry.serial_number: entry.revocation_date_utc for entry in entries}


def crl_der(crl_pem: str) -> bytes:
    """A revocation list as etcd reads it: from 3.6 on it takes no PEM."""
    return x509.load_pem_x509_crl(crl_pem.encode()).public_bytes(Encoding.DER)


def key_pem(key: PrivateKey, passphrase: bytes | None = None) -> str:
    """A private key as PKCS#8 in PEM."""
    protection = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """What people and manifests want to know of a certificate."""

    serial: int
    common_name: str
    not_before: datetime
    not_after: datetime
    sans: tuple[str, ...]


@lru_cache(maxsize=64)
def describe(certificate_pem: str) -> CertificateFacts:
    """The facts of the first certificate in a PEM text; ValueError if there is none."""
    certificate = certificates_in(certificate_pem)[0]
    return CertificateFacts(
        serial=certificate.serial_number,
        common_name=common_name_of(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        sans=tuple(map(str, _sans(certificate))),
    )


def algorithm_of(key: object) -> str:
    """A public key's kind, in the spec's words where it has one."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa-{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        names = {"secp256r1": "ecdsa-p256", "secp384r1": "ecdsa-p384"}
        return names.get(key.curve.name, key.curve.name)
    return "ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else "of an unknown kind"


def common_name_of(certificate: x509.Certificate) -> str:
    """Its subject's common name, empty without one."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _sans(certificate: x509.Certificate) -> list[San]:
    """DNS names and addresses; nothing else matters to etcd."""
    extension = extension_of(certificate, x509.SubjectAlternativeName)
    if extension is None:
        return []
    addresses = extension.get_values_for_type(x509.IPAddress)
    return [
        *(name.lower() for name in extension.get_values_for_type(x509.DNSName)),
        *(item for item in addresses if isinstance(item, IPv4Address | IPv6Address)),
    ]


def extension_of(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    """One extension's value; None where the certificate has none of this kind."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
