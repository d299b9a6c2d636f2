"""Signing: a CA at work."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from imagegen.base.problems import ImagegenError
from imagegen.pki.leaves import BACKDATED, Leaf
from imagegen.pki.model import CLIENT_CA, ONE_CA, PEER_CA, CertificateAuthority
from imagegen.pki.pem import (
    KEY_MAKERS,
    PrivateKey,
    PublicKey,
    San,
    certificate_file,
    certificates_in,
    certificates_pem,
    extension_of,
    is_encrypted,
    key_file,
    key_pem,
    private_key_in,
)

#: Longer, so that no leaf is older than its CA.
CA_BACKDATED = timedelta(hours=2)


class Signer:
    """A CA at work: parsed once, its key opened when something must be signed."""

    def __init__(self, authority: CertificateAuthority, passphrase: bytes | None) -> None:
        self.authority = authority
        #: As the store keeps it.
        self.kept = authority
        self._passphrase = passphrase
        try:
            self.certificate = certificates_in(authority.certificate_pem)[0]
        except ValueError as error:
            raise ImagegenError(
                f"{certificate_file(authority.name)} {error}",
                where="pki",
                hint="restore it from a backup",
            ) from None

    @cached_property
    def key(self) -> PrivateKey:
        """Its private key; ImagegenError if it is missing, shut, or another's."""
        name, text = self.authority.name, self.authority.key_pem
        if text is None:
            raise ImagegenError(
                f"{name} has to sign, and its key is not here",
                where="pki",
                hint=f"put {key_file(name)} back into the store, or bring it with pki.imports",
            )
        if is_encrypted(text) and not self._passphrase:
            raise ImagegenError(
                f"{name} has to sign, and its key is encrypted",
                where="pki",
                hint="give --ca-passphrase-file, or set IMAGEGEN_CA_PASSPHRASE",
            )
        try:
            key = private_key_in(text, self._passphrase)
        except ValueError as error:
            raise ImagegenError(f"{key_file(name)} {error}", where="pki") from None
        if key.public_key() != self.certificate.public_key():
            raise ImagegenError(
                f"{key_file(name)} does not belong to {certificate_file(name)}",
                where="pki",
                hint="restore both from the same backup",
            )
        return key

    @cached_property
    def identifier(self) -> x509.AuthorityKeyIdentifier:
        """What leaves say of who signed them."""
        own = extension_of(self.certificate, x509.SubjectKeyIdentifier)
        if own is None:
            key = self.certificate.public_key()
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)  # type: ignore[arg-type]  # a CA's key is one that signs
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)

    def end_of(self, leaf: Leaf, now: datetime) -> datetime:
        """When a leaf signed now ends: never after its CA."""
        return min(now + timedelta(days=leaf.days), self.certificate.not_valid_after_utc)

    def sign(self, leaf: Leaf, key: PrivateKey, now: datetime) -> str:
        """A certificate for the key, as PEM text."""
        public = key.public_key()
        begin = max(now - BACKDATED, self.certificate.not_valid_before_utc)
        builder = (
            _builder(leaf.common_name, public, begin, self.end_of(leaf, now))
            .issuer_name(self.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_LEAF_KEY_USAGE[isinstance(key, rsa.RSAPrivateKey)], critical=True)
            .add_extension(x509.ExtendedKeyUsage(leaf.usages), critical=False)
            .add_extension(self.identifier, critical=False)
        )
        if leaf.sans:
            names = x509.SubjectAlternativeName(map(_general_name, leaf.sans))
            builder = builder.add_extension(names, critical=False)
        return certificates_pem([builder.sign(self.key, digest_for(self.key))])


def new_authority(
    name: str,
    *,
    cluster: str,
    algorithm: str,
    days: int,
    now: datetime,
    number: int = 1,
    passphrase: bytes | None = None,
) -> CertificateAuthority:
    """A self-signed CA that may sign leaves, and no other CA; the ``number``-th of its name."""
    key = KEY_MAKERS[algorithm]()
    purpose = {ONE_CA: "etcd CA", CLIENT_CA: "etcd client CA", PEER_CA: "etcd peer CA"}[name]
    if number > 1:
        purpose += f" {number}"
    builder = _builder(
        purpose, key.public_key(), now - CA_BACKDATED, now + timedelta(days=days), cluster
    )
    certificate = (
        builder.issuer_name(_name(purpose, cluster))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(key, digest_for(key))
    )
    return CertificateAuthority(
        name=name, certificate_pem=certificates_pem([certificate]), key_pem=key_pem(key, passphrase)
    )


def sign_crl(
    authority: CertificateAuthority,
    revoked: Mapping[int, datetime],
    *,
    now: datetime,
    passphrase: bytes | None = None,
) -> str:
    """A list of revoked serials, as PEM text; it is good for as long as the CA is.

    Its number is its length: it only grows.
    """
    signer = Signer(authority, passphrase)
    begin = max(now, signer.certificate.not_valid_before_utc)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(signer.certificate.subject)
        .last_update(begin)
        .next_update(signer.certificate.not_valid_after_utc)
        .add_extension(x509.CRLNumber(len(revoked)), critical=False)
        .add_extension(signer.identifier, critical=False)
    )
    for serial, since in revoked.items():
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since)
        builder = builder.add_revoked_certificate(entry.build())
    try:
        crl = builder.sign(signer.key, digest_for(signer.key))
    except ValueError as error:
        raise ImagegenError(f"no list can be signed: {error}", where=authority.name) from None
    return crl.public_bytes(Encoding.PEM).decode()


def _builder(
    common_name: str,
    key: PublicKey,
    begin: datetime,
    end: datetime,
    organization: str = "",
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name, organization))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str, organization: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        # Tells the CAs of two clusters apart; it has 64 characters of its own.
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def _general_name(san: San) -> x509.GeneralName:
    return x509.DNSName(san) if isinstance(san, str) else x509.IPAddress(san)


def _key_usage(**allowed: bool) -> x509.KeyUsage:
    usages = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{usage: allowed.get(usage, False) for usage in usages})


# By whether the key is RSA: TLS 1.2 may encrypt to such a key, all others only sign.
_LEAF_KEY_USAGE = {
    False: _key_usage(digital_signature=True),
    True: _key_usage(digital_signature=True, key_encipherment=True),
}


def digest_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | None:
    """What a signature by this key is over, beside the key's own choice."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None  # Ed25519 brings its own
    strong = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256
    return hashes.SHA384() if strong else hashes.SHA256()
