"""What a server shows before anybody trusts it: a handshake that is never used.

For finding out why a certificate will not do. Nothing is sent but the
handshake itself: no certificate of ours, no request.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from cryptography import x509

_HANDSHAKE, _CERTIFICATE = 22, 11


def shown_certificates(url: str, *, timeout: float) -> tuple[x509.Certificate, ...]:
    """The certificates that the server at ``url`` shows, its own first; none if it shows none.

    In TLS 1.3 they are encrypted and only the first can be had from OpenSSL,
    but the client's side is done before the server can refuse us. In TLS 1.2 the
    server's refusal ends the handshake, but all of them came before, in the clear.

    Raises:
        OSError: nobody takes the connection within ``timeout`` seconds.
    """
    at = urlsplit(url)
    end = time.monotonic() + timeout
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # weak keys are for us to judge, too
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)
    seen = b""
    with socket.create_connection((at.hostname or "", at.port or 443), timeout) as connection:
        while time.monotonic() < end:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                break
            else:
                return _decoded([tls.getpeercert(binary_form=True) or b""])
            try:
                connection.sendall(outgoing.read())
                connection.settimeout(max(0.01, end - time.monotonic()))
                received = connection.recv(65536)
            except OSError:
                break
            if not received:
                break
            seen += received
            incoming.write(received)
    return _decoded(_certificates_in_clear(seen))


def _decoded(certificates: list[bytes]) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(map(x509.load_der_x509_certificate, certificates))
    except ValueError:
        return ()


def _certificates_in_clear(data: bytes) -> list[bytes]:
    """The certificates of a TLS 1.2 server's first flight (RFC 5246, 6.2.1 and 7.4.2)."""
    for kind, body in _messages(_handshake_bytes(data)):
        if kind == _CERTIFICATE:
            return list(_vectors(body[3:]))
    return []


def _handshake_bytes(data: bytes) -> bytes:
    """What the handshake records carry, up to the first record of another kind."""
    carried = b""
    while len(data) >= 5 and data[0] == _HANDSHAKE:
        length = int.from_bytes(data[3:5], "big")
        carried += data[5 : 5 + length]
        data = data[5 + length :]
    return carried


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length = int.from_bytes(data[1:4], "big")
        yield data[0], data[4 : 4 + length]
        data = data[4 + length :]


def _vectors(data: bytes) -> Iterator[bytes]:
    while len(data) >= 3:
        length = int.from_bytes(data[:3], "big")
        yield data[3 : 3 + length]
        data = data[3 + length :]
