"""imagegen.pki.imports: what operators bring, from cryptography, openssl and cfssl."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from imagegen.base.problems import Problem, Severity
from imagegen.pki.imports import read_imports
from imagegen.pki.issue import issue_pki
from imagegen.pki.model import Imported
from imagegen.pki.pem import KEY_MAKERS, certificates_in, private_key_in
from tests.conftest import NOW, make_cluster, require_program

ADDRESSES = ("10.240.0.11", "10.240.0.12", "10.240.0.13")
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH

MEMBERS = """
cluster: icc-etcd
members:
  - {name: icc-etcd-1, address: 10.240.0.11}
  - {name: icc-etcd-2, address: 10.240.0.12}
  - {name: icc-etcd-3, address: 10.240.0.13}
"""
SHARED = (
    MEMBERS
    + """
pki:
  layout: shared
  allow_shared_key: true
  imports:
    ca_certificate: ca.pem
    shared: {certificate: kubernetes.pem, key: kubernetes-key.pem}
"""
)
OWN_CA = MEMBERS + "pki: {layout: lab, imports: {ca: {certificate: ca.pem, key: ca-key.pem}}}\n"


def read(
    spec: str, folder: Path, *, now: datetime = NOW, passphrase: bytes | None = None
) -> tuple[Imported | None, tuple[Problem, ...]]:
    return read_imports(make_cluster(spec).spec, folder, now=now, passphrase=passphrase)


def errors(problems: tuple[Problem, ...]) -> list[str]:
    return [f"{p.where}: {p.what}" for p in problems if p.severity is Severity.ERROR]


# --- a small CA of our own, able to make every mistake --------------------------------


class Maker:
    """Makes certificates with whatever extensions a test asks for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def certificate(
        self,
        name: str,
        *,
        signer: str | None = None,
        key: Any = None,
        ca: bool | None = False,
        pathlen: int | None = None,
        usages: tuple[x509.ObjectIdentifier, ...] | None = None,
        sans: tuple[str, ...] = (),
        days: int = 365,
        digest: Any = None,
        key_cert_sign: bool | None = None,
        common_name: str | None = None,
        key_form: PrivateFormat = PrivateFormat.PKCS8,
        digital_signature: bool = True,
    ) -> x509.Certificate:
        """NAME.pem and NAME-key.pem, signed by the CA of files ``signer``."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or name)])
        issuer, signing = subject, key
        if signer:
            issuer = certificates_in((self.folder / f"{signer}.pem").read_text())[0].subject
            signing = private_key_in((self.folder / f"{signer}-key.pem").read_text())
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=10))
            .not_valid_after(NOW + timedelta(days=days))
        )
        extensions: list[x509.ExtensionType] = []
        if ca is not None:
            extensions.append(x509.BasicConstraints(ca=ca, path_length=pathlen))
        if key_cert_sign is not None or not digital_signature:
            extensions.append(
                x509.KeyUsage(
                    digital_signature=digital_signature,
                    content_commitment=False,
                    key_encipherment=True,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=bool(key_cert_sign),
                    crl_sign=False,
                    encipher_only=False,
                    decipher_only=False,
                )
            )
        if usages is not None:
            extensions.append(x509.ExtendedKeyUsage(usages))
        if sans:
            extensions.append(x509.SubjectAlternativeName(map(general_name, sans)))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        if digest is None and not isinstance(signing, ed25519.Ed25519PrivateKey):
            digest = hashes.SHA256()
        certificate = builder.sign(signing, digest)
        self.write(name, [certificate], key.private_bytes(Encoding.PEM, key_form, NoEncryption()))
        return certificate

    def write(self, name: str, certificates: list[x509.Certificate], key: bytes) -> None:
        pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
        (self.folder / f"{name}.pem").write_bytes(pem)
        (self.folder / f"{name}-key.pem").write_bytes(key)

    def member(self, name: str = "kubernetes", **changes: Any) -> x509.Certificate:
        """A good pair for all members, but for the changes."""
        good = {
            "signer": "ca",
            "usages": (SERVER, CLIENT),
            "sans": (
                *ADDRESSES,
                "127.0.0.1",
                "::1",
                "localhost",
                *(f"icc-etcd-{n}" for n in "123"),
            ),
        }
        return self.certificate(name, **(good | changes))


def general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    maker = Maker(tmp_path)
    maker.certificate("ca", ca=True, key_cert_sign=True, days=3650)
    return maker


def test_nothing_imported(tmp_path):
    assert read(MEMBERS, tmp_path) == (None, ())


def test_a_good_shared_pair(make, tmp_path):
    make.member()
    imported, problems = read(SHARED, tmp_path)
    assert problems == ()
    assert imported is not None
    pairs = list(imported.members.values())
    assert list(imported.members) == ["icc-etcd-1", "icc-etcd-2", "icc-etcd-3"]
    assert all(pair is pairs[0] and pair.server is pair.peer for pair in pairs)
    assert imported.ca is not None
    assert imported.ca.key_pem is None
    pki = issue_pki(make_cluster(SHARED), stored=None, imported=imported, now=NOW).pki
    assert pki.peer_common_name == "kubernetes"
    assert pki.client is None


KEY_FORMS = {
    "PKCS#8 RSA": (KEY_MAKERS["rsa-2048"], PrivateFormat.PKCS8),
    "PKCS#1 RSA": (KEY_MAKERS["rsa-2048"], PrivateFormat.TraditionalOpenSSL),
    "PKCS#8 P-256": (KEY_MAKERS["ecdsa-p256"], PrivateFormat.PKCS8),
    "SEC1 P-256": (KEY_MAKERS["ecdsa-p256"], PrivateFormat.TraditionalOpenSSL),
    "SEC1 P-384": (KEY_MAKERS["ecdsa-p384"], PrivateFormat.TraditionalOpenSSL),
    "PKCS#8 Ed25519": (KEY_MAKERS["ed25519"], PrivateFormat.PKCS8),
}


@pytest.mark.parametrize("form", KEY_FORMS)
@pytest.mark.parametrize("whose", ["leaf", "ca"])
def test_every_form_of_key_is_taken_and_becomes_pkcs8(form, whose, make, tmp_path):
    maker, key_form = KEY_FORMS[form]
    if whose == "leaf":
        key = maker()
        make.member(key=key, key_form=key_form)
        imported, problems = read(SHARED, tmp_path)
        assert problems == ()
        text = imported.members["icc-etcd-1"].server.key_pem
        assert text.startswith("-----BEGIN PRIVATE KEY-----\n")
        assert private_key_in(text).public_key() == key.public_key()
    else:
        make.certificate("ca", ca=True, key=maker(), key_form=key_form, days=3650)
        imported, problems = read(OWN_CA, tmp_path)
        assert problems == ()
        issued = issue_pki(make_cluster(OWN_CA), stored=None, imported=imported, now=NOW)
        leaf = certificates_in(issued.pki.members["icc-etcd-1"].server.certificate_pem)[0]
        leaf.verify_directly_issued_by(certificates_in(imported.ca.certificate_pem)[0])


def test_text_around_the_blocks_does_not_travel_on(make, tmp_path):
    """`openssl x509 -text`, bag attributes, EC parameters and CRLF are left behind."""
    openssl = require_program("openssl")
    make.member()
    pem, key = tmp_path / "kubernetes.pem", tmp_path / "kubernetes-key.pem"
    plain = read(SHARED, tmp_path)[0]
    shown = subprocess.run([openssl, "x509", "-text", "-in", pem], capture_output=True, check=True)
    pem.write_bytes(shown.stdout.replace(b"\n", b"\r\n"))
    command = [openssl, "ecparam", "-name", "prime256v1"]
    parameters = subprocess.run(command, capture_output=True, check=True).stdout
    key.write_bytes(b"Bag Attributes: <None>\n" + parameters + key.read_bytes())
    assert read(SHARED, tmp_path) == (plain, ())


WRONG_LEAVES: dict[str, tuple[dict[str, Any], str]] = {
    "no clientAuth": ({"usages": (SERVER,)}, "lacks clientAuth in its extended key usage"),
    "no serverAuth": ({"usages": (CLIENT,)}, "lacks serverAuth in its extended key usage"),
    "neither": (
        {"usages": (ExtendedKeyUsageOID.CODE_SIGNING,)},
        "lacks serverAuth and clientAuth in its extended key usage",
    ),
    "no SAN at all": (
        {"sans": ()},
        "lacks 10.240.0.11, 10.240.0.12, 10.240.0.13 in its subject alternative names",
    ),
    "one member's SAN missing": (
        {"sans": (*ADDRESSES[:2], "localhost")},
        "lacks 10.240.0.13 in its subject alternative names",
    ),
    "expired": ({"days": -1}, "expired on 2026-11-30"),
    "weak": ({"key": rsa.generate_private_key(65537, 1024)}, "has a weak key: RSA of 1024 bits"),
    "P-521": (
        {"key": ec.generate_private_key(ec.SECP521R1())},
        "has a key of kind secp521r1",
    ),
    "a CA": ({"ca": True}, "is a CA's own certificate"),
    "no digitalSignature": (
        {"digital_signature": False},
        "lacks digitalSignature in its key usage",
    ),
}


@pytest.mark.parametrize("case", WRONG_LEAVES)
def test_each_fault_of_a_leaf_is_named(case, make, tmp_path):
    changes, what = WRONG_LEAVES[case]
    make.member(**changes)
    _, problems = read(SHARED, tmp_path)
    assert errors(problems) == [f"pki.imports.shared.certificate (kubernetes.pem): {what}"]
    assert all(problem.hint for problem in problems)


def test_no_extended_key_usage_is_any(make, tmp_path):
    """Go takes its absence for "any", so etcd works with it."""
    make.member(usages=None)
    assert read(SHARED, tmp_path)[1] == ()


def test_missing_conveniences_are_warnings(make, tmp_path):
    """Nobody needs localhost or the bare name for the cluster to work."""
    make.member(sans=ADDRESSES)
    [warning] = read(SHARED, tmp_path)[1]
    assert warning.severity is Severity.WARNING
    assert "localhost" in warning.what


def test_a_wildcard_covers_a_name(make, tmp_path):
    spec = SHARED.replace("10.240.0.11}", "10.240.0.11, dns_names: [one.etcd.example.org]}")
    make.member()
    assert "lacks one.etcd.example.org" in errors(read(spec, tmp_path)[1])[0]
    make.member(sans=(*ADDRESSES, "*.etcd.example.org"))
    assert errors(read(spec, tmp_path)[1]) == []


def test_a_soon_expiry_warns(make, tmp_path):
    make.member(days=30)
    [warning] = read(SHARED, tmp_path)[1]
    assert (warning.severity, warning.hint) == (Severity.WARNING, "renew it where it was signed")


def test_sha1_is_refused(make, tmp_path):
    """Go does not accept it; made by openssl, as cryptography no longer signs so."""
    openssl = require_program("openssl")
    make.member()
    (tmp_path / "ext").write_text(
        "subjectAltName=IP:10.240.0.11,IP:10.240.0.12,IP:10.240.0.13,IP:127.0.0.1,IP:::1,"
        "DNS:localhost,DNS:icc-etcd-1,DNS:icc-etcd-2,DNS:icc-etcd-3\n"
        "basicConstraints=CA:FALSE\n"
    )
    script = f"""
        {openssl} req -new -key kubernetes-key.pem -subj /CN=kubernetes -out csr
        {openssl} x509 -req -sha1 -in csr -CA ca.pem -CAkey ca-key.pem -set_serial 1 \
            -days 3650 -extfile ext -out kubernetes.pem
    """
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, capture_output=True, check=True)
    [error] = errors(read(SHARED, tmp_path, now=datetime.now(UTC))[1])
    assert "is signed over SHA1, which etcd refuses" in error


def test_key_of_another(make, tmp_path):
    make.member()
    make.certificate("other")
    (tmp_path / "other-key.pem").rename(tmp_path / "kubernetes-key.pem")
    [error] = errors(read(SHARED, tmp_path)[1])
    assert error.endswith("(kubernetes.pem): does not belong to its private key")


def test_another_ca(make, tmp_path):
    """By another name, and by the same name: the message says which."""
    make.member()
    make.certificate("ca", ca=True, common_name="Elsewhere")
    [error] = errors(read(SHARED, tmp_path)[1])
    assert "was not signed by CA CN=Elsewhere but by CN=ca" in error
    make.certificate("ca", ca=True)
    [error] = errors(read(SHARED, tmp_path)[1])
    assert "was signed by another CA that is called CN=ca too" in error


def test_intermediates_stand_behind_the_leaf(make, tmp_path):
    """Found there, followed, and their own limits minded."""
    between = make.certificate("between", signer="ca", ca=True, key_cert_sign=True)
    leaf = make.member(signer="between")
    key = (tmp_path / "kubernetes-key.pem").read_bytes()
    [error] = errors(read(SHARED, tmp_path)[1])
    assert "was not signed by CA CN=ca but by CN=between" in error
    make.write("kubernetes", [leaf, between], key)
    imported, problems = read(SHARED, tmp_path)
    assert problems == ()
    chain = certificates_in(imported.members["icc-etcd-1"].server.certificate_pem)
    assert chain == (leaf, between)
    make.write("kubernetes", [between, leaf], key)
    assert any("is a CA's own" in error for error in errors(read(SHARED, tmp_path)[1]))


@pytest.mark.parametrize(
    ("root", "between", "what"),
    [
        ({"pathlen": 0}, {}, "CA CN=ca allows 0 CAs below it, and there are 1"),
        ({}, {"ca": False}, "CA CN=between is not a CA: basicConstraints does not say so"),
        ({}, {"key_cert_sign": False}, "CA CN=between may not sign: keyCertSign is missing"),
        ({}, {"days": -1}, "CA CN=between expired on 2026-11-30"),
        ({}, {"usages": (SERVER,)}, "CA CN=between may not vouch for clientAuth"),
    ],
)
def test_a_broken_chain_names_the_link(root, between, what, make, tmp_path):
    make.certificate("ca", ca=True, days=3650, **root)
    middle = make.certificate("between", **({"signer": "ca", "ca": True} | between))
    leaf = make.member(signer="between")
    make.write("kubernetes", [leaf, middle], (tmp_path / "kubernetes-key.pem").read_bytes())
    assert errors(read(SHARED, tmp_path)[1]) == [
        f"pki.imports.shared.certificate (kubernetes.pem): {what}"
    ]


def test_an_encrypted_leaf_key_is_refused_with_the_reason(make, tmp_path):
    """With a passphrase at hand too: the member has nobody to type it."""
    make.member()
    path = tmp_path / "kubernetes-key.pem"
    key = private_key_in(path.read_text())
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        path.write_bytes(key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret")))
        _, problems = read(SHARED, tmp_path, passphrase=b"secret")
        [problem] = problems
        assert problem.where == "pki.imports.shared.key (kubernetes-key.pem)"
        assert "etcd cannot read it" in problem.what
        assert "openssl pkey" in problem.hint


def der(path: Path) -> None:
    certificate = certificates_in(path.read_text())[0]
    path.write_bytes(certificate.public_bytes(Encoding.DER))


def broken_base64(path: Path) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[3:]]))


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


WRONG_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "cannot be read: No such file or directory"),
    "directory": (directory, "cannot be read: Is a directory"),
    "fifo": (fifo, "is not a regular file"),
    "empty": (lambda path: path.write_text(""), "is not PEM"),
    "binary": (lambda path: path.write_bytes(bytes(range(256))), "is not PEM"),
    "huge": (lambda path: path.write_bytes(b"x" * 70_000), "is larger than 64 KiB"),
    "broken": (broken_base64, "that cannot be decoded"),
}


@pytest.mark.parametrize("case", WRONG_FILES)
@pytest.mark.parametrize("name", ["ca.pem", "kubernetes.pem", "kubernetes-key.pem"])
def test_files_that_are_none(case, name, make, tmp_path):
    spoil, what = WRONG_FILES[case]
    make.member()
    secret = (tmp_path / "kubernetes-key.pem").read_text().splitlines()[1]
    spoil(tmp_path / name)
    [error] = errors(read(SHARED, tmp_path)[1])
    assert f"({name}): " in error
    assert what in error
    assert secret not in error


def test_der_is_recognised(make, tmp_path):
    make.member()
    der(tmp_path / "kubernetes.pem")
    [problem] = read(SHARED, tmp_path)[1]
    assert problem.what == "is DER, not PEM"
    assert "openssl" in problem.hint


def test_files_in_each_others_place(make, tmp_path):
    """A key for a certificate and a certificate for a key: both said at once."""
    make.member()
    swapped = SHARED.replace("certificate: kubernetes.pem, key: kubernetes-key.pem", "X").replace(
        "X", "certificate: kubernetes-key.pem, key: kubernetes.pem"
    )
    assert errors(read(swapped, tmp_path)[1]) == [
        "pki.imports.shared.key (kubernetes.pem): holds no private key, only: certificate",
        "pki.imports.shared.certificate (kubernetes-key.pem): "
        "holds no certificate, only: private key",
    ]


# --- one pair for each member ---------------------------------------------------------


def own_spec(layout: str, peers: bool = False) -> str:
    lines = [MEMBERS, "pki:", f"  layout: {layout}", "  imports:", "    ca_certificate: ca.pem"]
    if peers:
        lines.append("    peer_ca_certificate: peer-ca.pem")
    lines.append("    client: {certificate: admin.pem, key: admin-key.pem}")
    lines.append("    members:")
    for number in (1, 2, 3):
        lines.append(f"      icc-etcd-{number}:")
        lines.append(f"        server: {{certificate: s{number}.pem, key: s{number}-key.pem}}")
        if peers:
            lines.append(f"        peer: {{certificate: p{number}.pem, key: p{number}-key.pem}}")
    return "\n".join(lines) + "\n"


def test_own_pairs_and_two_cas(make, tmp_path):
    """Layout separate, all of it brought: each pair is checked under its own CA."""
    make.certificate("peer-ca", ca=True, days=3650)
    make.certificate("admin", signer="ca", usages=(CLIENT,))
    for number in (1, 2, 3):
        make.member(f"s{number}")
        make.member(f"p{number}", signer="peer-ca")
    spec = own_spec("separate", peers=True)
    imported, problems = read(spec, tmp_path)
    assert problems == ()
    pki = issue_pki(make_cluster(spec), stored=None, imported=imported, now=NOW).pki
    assert pki.client == imported.client
    assert pki.members == imported.members
    assert pki.members["icc-etcd-1"].server != pki.members["icc-etcd-1"].peer
    make.member("p2")
    [error] = errors(read(spec, tmp_path)[1])
    assert error.startswith("pki.imports.members.icc-etcd-2.peer.certificate (p2.pem): was not")


def test_all_problems_of_all_members_come_at_once(make, tmp_path):
    make.certificate("admin", signer="ca", usages=(SERVER,))
    make.member("s1", usages=(SERVER,))
    make.member("s2", days=-1)
    make.member("s3", sans=("localhost",))
    found = errors(read(own_spec("lab"), tmp_path)[1])
    assert len(found) == 4
    assert [
        name for name in ("admin", "s1", "s2", "s3") if any(f"({name}.pem)" in e for e in found)
    ]
    assert any("(s3.pem): lacks 10.240.0.13 in" in error for error in found)


def test_one_key_for_all_must_be_asked_for(make, tmp_path):
    """The lab's habit of one pair everywhere does not pass as layout lab."""
    make.certificate("admin", signer="ca", usages=(CLIENT,))
    for number in (1, 2, 3):
        make.member(f"s{number}")
    for part in (".pem", "-key.pem"):
        (tmp_path / f"s2{part}").write_bytes((tmp_path / f"s1{part}").read_bytes())
    [error] = errors(read(own_spec("lab"), tmp_path)[1])
    assert error == "pki.imports.members.icc-etcd-2: has the same private key as icc-etcd-1"


def test_root_as_a_members_name_warns(make, tmp_path):
    make.member(common_name="root")
    [warning] = read(SHARED, tmp_path)[1]
    assert "superuser" in warning.what


# --- a CA that signs our leaves -------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"ca": False}, "CA CN=ca is not a CA: basicConstraints does not say so"),
        ({"ca": None}, "CA CN=ca is not a CA: basicConstraints does not say so"),
        ({"key_cert_sign": False}, "CA CN=ca may not sign: keyCertSign is missing"),
        ({"days": -1}, "CA CN=ca expired on 2026-11-30"),
        ({"usages": (SERVER,)}, "CA CN=ca may not vouch for clientAuth"),
    ],
)
def test_a_ca_that_cannot_sign_for_members(changes, what, make, tmp_path):
    make.certificate("ca", **({"ca": True, "days": 3650} | changes))
    assert errors(read(OWN_CA, tmp_path)[1]) == [f"pki.imports.ca.certificate (ca.pem): {what}"]


def test_a_cas_key_of_another(make, tmp_path):
    make.certificate("other")
    (tmp_path / "other-key.pem").rename(tmp_path / "ca-key.pem")
    [error] = errors(read(OWN_CA, tmp_path)[1])
    assert "does not belong to its private key" in error


def test_a_ca_with_its_chain(make, tmp_path):
    """Works, and warns: etcd trusts each CA in the file, so all that the root vouches for."""
    root = certificates_in((tmp_path / "ca.pem").read_text())[0]
    issuing = make.certificate("issuing", signer="ca", ca=True, pathlen=0, days=2000)
    key = (tmp_path / "issuing-key.pem").read_bytes()
    make.write("ca", [issuing, root], key)
    imported, [warning] = read(OWN_CA, tmp_path)
    assert warning.severity is Severity.WARNING
    assert "holds CA CN=ca too" in warning.what
    issued = issue_pki(make_cluster(OWN_CA), stored=None, imported=imported, now=NOW)
    leaf = certificates_in(issued.pki.members["icc-etcd-1"].server.certificate_pem)[0]
    leaf.verify_directly_issued_by(issuing)
    assert certificates_in(issued.pki.ca.certificate_pem) == (issuing, root)


def test_an_encrypted_ca_key_needs_its_passphrase_to_sign(make, tmp_path):
    """Known now, it is tried now; else it is asked for when something must be signed."""
    path = tmp_path / "ca-key.pem"
    key = private_key_in(path.read_text())
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"right"))
    )
    assert read(OWN_CA, tmp_path)[1] == ()
    assert read(OWN_CA, tmp_path, passphrase=b"right")[1] == ()
    [error] = errors(read(OWN_CA, tmp_path, passphrase=b"wrong")[1])
    assert error == (
        "pki.imports.ca.key (ca-key.pem): holds a private key which the passphrase does not open"
    )


# --- as the lab makes them ------------------------------------------------------------

LAB_ADDRESSES = [f"10.240.0.{host}" for host in range(11, 16)]
LAB = "cluster: icc-etcd\nmembers:\n" + "".join(
    f"  - {{name: icc-etcd-{n}, address: {address}}}\n"
    for n, address in enumerate(LAB_ADDRESSES, 1)
)
LAB_SHARED = LAB + SHARED.removeprefix(MEMBERS)
CA_CONFIG = {
    "signing": {
        "default": {"expiry": "8760h"},
        "profiles": {
            "kubernetes": {
                "usages": ["signing", "key encipherment", "server auth", "client auth"],
                "expiry": "8760h",
            },
            "serving": {"usages": ["signing", "server auth"], "expiry": "8760h"},
        },
    }
}


class Cfssl:
    """The lab's two commands: gencert -initca, and gencert for a host list."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cfssl, self.cfssljson = require_program("cfssl"), require_program("cfssljson")
        (folder / "ca-config.json").write_text(json.dumps(CA_CONFIG))

    def gencert(self, name: str, key: dict[str, object], *options: str, cn: str) -> None:
        request = {"CN": cn, "key": key, "names": [{"C": "DE", "O": "Kubernetes", "OU": "lab"}]}
        (self.folder / f"{name}-csr.json").write_text(json.dumps(request))
        made = subprocess.run(
            [self.cfssl, "gencert", *options, f"{name}-csr.json"],
            cwd=self.folder,
            capture_output=True,
            check=True,
        )
        subprocess.run(
            [self.cfssljson, "-bare", name], cwd=self.folder, input=made.stdout, check=True
        )

    def leaf(
        self, name: str, key: dict[str, object], hosts: list[str], profile: str = "kubernetes"
    ) -> None:
        options = ["-ca=ca.pem", "-ca-key=ca-key.pem", "-config=ca-config.json"]
        options += [f"-hostname={','.join(hosts)}", f"-profile={profile}"]
        self.gencert(name, key, *options, cn=name)


RSA_KEY: dict[str, object] = {"algo": "rsa", "size": 2048}
ECDSA_KEY: dict[str, object] = {"algo": "ecdsa", "size": 256}


@pytest.fixture
def cfssl(tmp_path: Path) -> Cfssl:
    cfssl = Cfssl(tmp_path)
    cfssl.gencert("ca", RSA_KEY, "-initca", cn="Kubernetes")
    return cfssl


@pytest.mark.parametrize("key", [RSA_KEY, ECDSA_KEY], ids=["rsa", "ecdsa"])
def test_the_labs_certificates_with_the_addresses_in_them(key, cfssl, tmp_path):
    """ca.pem, kubernetes.pem and kubernetes-key.pem from cfssl, accepted as they are."""
    names = [f"icc-etcd-{n}" for n in range(1, 6)]
    cfssl.leaf("kubernetes", key, [*LAB_ADDRESSES, *names, "127.0.0.1", "::1", "localhost"])
    now = datetime.now(UTC)
    imported, problems = read(LAB_SHARED, tmp_path, now=now)
    assert problems == ()
    issued = issue_pki(make_cluster(LAB_SHARED), stored=None, imported=imported, now=now)
    assert len(issued.pki.members) == 5
    assert issued.pki.peer_common_name == "kubernetes"


def test_the_labs_mistake_is_named_address_by_address(cfssl, tmp_path):
    """The lab's kubernetes.pem has the API server's addresses and none of etcd's."""
    hosts = ["10.32.0.1", "10.240.0.20", "127.0.0.1", "kubernetes.default"]
    cfssl.leaf("kubernetes", RSA_KEY, hosts)
    _, problems = read(LAB_SHARED, tmp_path, now=datetime.now(UTC))
    [error] = [problem for problem in problems if problem.severity is Severity.ERROR]
    assert error.what == f"lacks {', '.join(LAB_ADDRESSES)} in its subject alternative names"
    assert "it has kubernetes.default, 10.32.0.1, 10.240.0.20, 127.0.0.1" in error.hint


def test_a_list_in_one_name_is_no_list(cfssl, tmp_path):
    """The lab's quoted variable puts several addresses into one name."""
    cfssl.leaf("kubernetes", RSA_KEY, [" ".join(LAB_ADDRESSES), "localhost"])
    found = errors(read(LAB_SHARED, tmp_path, now=datetime.now(UTC))[1])
    assert any("lacks 10.240.0.11, 10.240.0.12" in error for error in found)


def test_a_server_only_profile_says_why_that_is_not_enough(cfssl, tmp_path):
    cfssl.leaf("kubernetes", RSA_KEY, LAB_ADDRESSES, profile="serving")
    _, problems = read(LAB_SHARED, tmp_path, now=datetime.now(UTC))
    [error] = [problem for problem in problems if problem.severity is Severity.ERROR]
    assert error.what == "lacks clientAuth in its extended key usage"
    assert "JSON gateway" in error.hint


def test_the_labs_ca_signs_our_leaves(cfssl, tmp_path):
    """Better than its pair for all: the same CA, and a key for each member."""
    spec = LAB + OWN_CA.removeprefix(MEMBERS)
    now = datetime.now(UTC)
    imported, problems = read(spec, tmp_path, now=now)
    assert problems == ()
    pki = issue_pki(make_cluster(spec), stored=None, imported=imported, now=now).pki
    assert len({member.server.key_pem for member in pki.members.values()}) == 5
    openssl = require_program("openssl")
    (tmp_path / "leaf.pem").write_text(pki.members["icc-etcd-5"].peer.certificate_pem)
    for purpose in ("sslserver", "sslclient"):
        command = [openssl, "verify", "-purpose", purpose, "-verify_ip", "10.240.0.15"]
        subprocess.run([*command, "-CAfile", "ca.pem", "leaf.pem"], cwd=tmp_path, check=True)


def test_a_key_that_openssl_refuses(make, tmp_path):
    """Found by fuzzing (tests/fuzz): cryptography raised InternalError for 31 bytes of Ed25519."""
    der = bytes.fromhex("302d020100300506032b65700421041f") + bytes(31)
    text = base64.encodebytes(der).decode()
    pem = f"-----BEGIN PRIVATE KEY-----\n{text}-----END PRIVATE KEY-----\n"
    (tmp_path / "ca-key.pem").write_text(pem)
    _, problems = read(OWN_CA, tmp_path)
    [error] = errors(problems)
    assert "holds a private key that cannot be decoded" in error
    assert text.strip() not in error
