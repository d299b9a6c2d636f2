"""X.509 certificates: reading them, saying what one must say, and finding faults.

Pure: PEM text, passphrase and time come in as values. Nothing here raises or
returns the text of a private key but in the fields meant for it, which no
``repr`` shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from imagegen.base.problems import Problem, Severity
from imagegen.pki.leaves import BACKDATED, CLIENT_AUTH, SERVER_AUTH, Leaf, Role
from imagegen.pki.model import Credential
from imagegen.pki.pem import (
    KEY_MAKERS,
    PrivateKey,
    San,
    _sans,
    algorithm_of,
    certificates_in,
    common_name_of,
    extension_of,
    private_key_in,
)

#: With less left before its end, a certificate is warned of: brought, listed or served.
SOON = timedelta(days=60)

USAGE_NAMES = {SERVER_AUTH: "serverAuth", CLIENT_AUTH: "clientAuth"}


def check_credential(
    credential: Credential,
    leaf: Leaf,
    *,
    ca_pem: str,
    now: datetime,
    where: str = "",
    remedy: str = "imagegen build --reissue signs a new one",
) -> list[Problem]:
    """Everything about a certificate and its key that etcd, or ``leaf``, would mind.

    Names and addresses beyond the leaf's do no harm; missing ones that only
    convenience needs, such as ``localhost``, are warnings.
    """
    try:
        chain, roots = certificates_in(credential.certificate_pem), certificates_in(ca_pem)
        key = private_key_in(credential.key_pem)
    except ValueError as error:
        return [Problem(where=where, what=str(error), hint=remedy)]
    return check_leaf(chain, leaf, key=key, roots=roots, now=now, where=where, remedy=remedy)


def check_leaf(
    chain: Sequence[x509.Certificate],
    leaf: Leaf,
    *,
    key: PrivateKey | None,
    roots: Sequence[x509.Certificate],
    now: datetime,
    where: str = "",
    remedy: str = "",
) -> list[Problem]:
    """:func:`check_credential` for what is parsed already; without a key, no check of it.

    ``chain`` is a leaf and its intermediates, ``roots`` what etcd is told to
    trust; without roots the chain is not followed.
    """
    certificate, *intermediates = chain
    weak = list(_strength_faults(certificate))
    faults = [
        *date_faults(certificate, now, remedy),
        *_usage_faults(certificate, leaf),
        *_san_faults(certificate, leaf),
        *weak,
    ]
    if key is not None and key.public_key() != certificate.public_key():
        faults.append(_error("does not belong to its private key", "bring the two together"))
    # A weak signature is one fault, and also cannot be verified to find others.
    if roots and not weak:
        faults += _chain_faults(certificate, intermediates, roots, now, leaf.usages)
    return [replace(fault, where=where) for fault in faults]


def check_authority(
    certificates: Sequence[x509.Certificate],
    *,
    key: PrivateKey | None,
    now: datetime,
    where: str = "",
) -> list[Problem]:
    """Everything that keeps a CA, the first of ``certificates``, from vouching for members.

    The others are its chain, or more CAs to trust; etcd treats them alike.
    """
    both = (SERVER_AUTH, CLIENT_AUTH)
    authority, *others = certificates
    faults = [*_authority_faults(authority, now, below=0, usages=both)]
    if key is not None and key.public_key() != authority.public_key():
        faults.append(_error("does not belong to its private key", "bring the two together"))
    if issuer := _issuer_of(authority, others):
        faults += _strength_faults(authority)
        faults += _authority_faults(issuer, now, below=1, usages=both)
    for other in others:
        faults.append(
            _warning(
                f"holds {_subject(other)} too, so etcd accepts whatever that CA vouches for",
                "keep only the CA that signs this cluster's certificates",
            )
        )
    return [replace(fault, where=where) for fault in faults]


def _error(what: str, hint: str) -> Problem:
    return Problem(where="", what=what, hint=hint)


def _warning(what: str, hint: str) -> Problem:
    return Problem(where="", what=what, hint=hint, severity=Severity.WARNING)


def _subject(certificate: x509.Certificate) -> str:
    return f"CA {certificate.subject.rfc4514_string() or 'without a name'}"


def date_faults(certificate: x509.Certificate, now: datetime, remedy: str) -> Iterator[Problem]:
    """Expired, not yet valid, or (a warning) about to expire."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        yield _error(f"expired on {end:%Y-%m-%d}", remedy)
    elif now < begin:
        yield _error(f"is not valid before {begin:%Y-%m-%d %H:%M} UTC", "is the clock right?")
    elif end - now < SOON:
        yield _warning(f"ends on {end:%Y-%m-%d}, {(end - now).days} days from now", remedy)


def _usage_faults(certificate: x509.Certificate, leaf: Leaf) -> Iterator[Problem]:
    constraints = extension_of(certificate, x509.BasicConstraints)
    if constraints and constraints.ca:
        yield _error("is a CA's own certificate", "the leaf stands first in its file")
    if missing := _missing_usages(certificate, leaf.usages):
        hint = "callers of etcd dial with it"
        if leaf.role is not Role.CLIENT:
            hint = "members dial each other, and etcd's JSON gateway dials itself, with it too"
        yield _error(
            f"lacks {missing} in its extended key usage",
            f"sign it for {_usage_names(leaf.usages)}: {hint}",
        )
    usage = extension_of(certificate, x509.KeyUsage)
    if usage and not usage.digital_signature:
        yield _error("lacks digitalSignature in its key usage", "TLS signs with its key")


def _missing_usages(certificate: x509.Certificate, usages: Iterable[x509.ObjectIdentifier]) -> str:
    """What an extended key usage leaves out; without the extension, nothing."""
    extended = extension_of(certificate, x509.ExtendedKeyUsage)
    if extended is None or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in extended:
        return ""
    return _usage_names(usage for usage in usages if usage not in extended)


def _usage_names(usages: Iterable[x509.ObjectIdentifier]) -> str:
    return " and ".join(USAGE_NAMES.get(usage, usage.dotted_string) for usage in usages)


def _san_faults(certificate: x509.Certificate, leaf: Leaf) -> Iterator[Problem]:
    has = _sans(certificate)
    needed = [str(san) for san in leaf.needed if not _covered(san, has)]
    wanted = [str(san) for san in leaf.sans if not _covered(san, has) and san not in leaf.needed]
    if needed:
        listed = ", ".join(map(str, has)) or "none, and etcd ignores the common name"
        yield _error(
            f"lacks {', '.join(sorted(needed))} in its subject alternative names",
            f"sign it with them; it has {listed}",
        )
    if wanted:
        yield _warning(
            f"lacks {', '.join(wanted)} in its subject alternative names",
            "nothing depends on them, but nobody reaches the member by them",
        )


def _covered(san: San, has: Iterable[San]) -> bool:
    if san in has:
        return True
    _, _, domain = san.partition(".") if isinstance(san, str) else ("", "", "")
    return bool(domain) and f"*.{domain}" in has


def _strength_faults(certificate: x509.Certificate) -> Iterator[Problem]:
    key = certificate.public_key()
    kind = algorithm_of(key)
    known = kind in KEY_MAKERS or isinstance(key, rsa.RSAPublicKey)
    if not known:
        yield _error(f"has a key of kind {kind}", "use RSA, P-256, P-384 or Ed25519")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048:
        yield _error(f"has a weak key: RSA of {key.key_size} bits", "use 2048 bits or more")
    if isinstance(certificate.signature_hash_algorithm, hashes.SHA1 | hashes.MD5):
        name = certificate.signature_hash_algorithm.name.upper()
        yield _error(f"is signed over {name}, which etcd refuses", "sign it over SHA-256")


def _chain_faults(
    certificate: x509.Certificate,
    intermediates: Iterable[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime,
    usages: Sequence[x509.ObjectIdentifier],
) -> Iterator[Problem]:
    """What is wrong on the way from a leaf to one of the roots."""
    rest = list(intermediates)
    below = 0  # CAs between the leaf and the next issuer
    while True:
        root = _issuer_of(certificate, roots)
        issuer = root or _issuer_of(certificate, rest)
        if issuer is None:
            issuer_name = certificate.issuer.rfc4514_string()
            same = any(other.subject == certificate.issuer for other in (*roots, *rest))
            yield _error(
                f"was signed by another CA that is called {issuer_name} too"
                if same
                else f"was not signed by {_subject(roots[0])} but by {issuer_name}",
                "bring the CA that signed it, and its intermediates behind it in its file",
            )
            return
        yield from _authority_faults(issuer, now, below=below, usages=usages)
        if root is not None:
            return
        yield from _strength_faults(issuer)
        rest.remove(issuer)
        certificate = issuer
        below += 1


def _issuer_of(
    certificate: x509.Certificate, candidates: Iterable[x509.Certificate]
) -> x509.Certificate | None:
    for candidate in candidates:
        try:
            certificate.verify_directly_issued_by(candidate)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            continue
        return candidate
    return None


def _authority_faults(
    certificate: x509.Certificate,
    now: datetime,
    *,
    below: int,
    usages: Iterable[x509.ObjectIdentifier],
) -> Iterator[Problem]:
    name = _subject(certificate)
    constraints = extension_of(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        yield _error(f"{name} is not a CA: basicConstraints does not say so", "bring a CA")
    elif constraints.path_length is not None and constraints.path_length < below:
        yield _error(
            f"{name} allows {constraints.path_length} CAs below it, and there are {below}",
            "sign with the CA itself, or have its pathlen raised",
        )
    usage = extension_of(certificate, x509.KeyUsage)
    if usage and not usage.key_cert_sign:
        yield _error(f"{name} may not sign: keyCertSign is missing", "bring a CA that may")
    if missing := _missing_usages(certificate, usages):
        yield _error(f"{name} may not vouch for {missing}", "bring a CA without that limit")
    for fault in date_faults(certificate, now, "no leaf outlives its CA: plan for a new one"):
        yield replace(fault, what=f"{name} {fault.what}")


def misfits(
    certificate: x509.Certificate,
    key: PrivateKey,
    leaf: Leaf,
    issuer: x509.Certificate,
    algorithm: str,
    now: datetime,
) -> Iterator[str]:
    """Why a certificate that imagegen signed is not what it would sign today."""
    faults = (*date_faults(certificate, now, ""), *_usage_faults(certificate, leaf))
    yield from (fault.what for fault in faults if fault.severity is Severity.ERROR)
    extended = extension_of(certificate, x509.ExtendedKeyUsage) or ()
    if surplus := _usage_names(usage for usage in extended if usage not in leaf.usages):
        yield f"has {surplus} in its extended key usage, which a {leaf.role} does not need"
    if (name := common_name_of(certificate)) != leaf.common_name:
        yield f"its common name is {name!r}, not {leaf.common_name!r}"
    has = _sans(certificate)
    yield from (f"{_kind(san)} {san} is missing" for san in leaf.sans if san not in has)
    yield from (f"{_kind(san)} {san} is not in the spec" for san in has if san not in leaf.sans)
    # Dates are cut to whole seconds, so a lifetime is exact.
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    if lifetime > timedelta(days=leaf.days) + BACKDATED:
        yield f"is valid for {lifetime.days} days, not {leaf.days}"
    if (kind := algorithm_of(key.public_key())) != algorithm:
        yield f"its key is {kind}, not {algorithm}"
    if key.public_key() != certificate.public_key():
        yield "does not belong to its private key"
    if _issuer_of(certificate, [issuer]) is None:
        yield f"was not signed by {_subject(issuer)}"


def _kind(san: San) -> str:
    return "name" if isinstance(san, str) else "address"
