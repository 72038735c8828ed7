"""Lets nobody but SeaweedFS itself talk to its internal ports: TLS with one certificate for both.

They speak gRPC and HTTP. Those of gRPC ask for no other credentials: who reached them could read
and write every object, or name an S3 user of his own.
"""

import datetime as dt
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

from camfleet.errors import StackError
from camfleet.local import private

_CERTIFICATE, _KEY = "seaweedfs.pem", "seaweedfs.key"
_GRPC = ("master", "volume", "filer", "s3", "admin", "worker", "client", "msg_broker")
_HTTPS = ("master", "volume", "filer", "admin")
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


def write_certificate(folder: Path, host: str) -> None:
    """Write a key and a certificate that it has signed itself, the only one to be trusted, once.

    It never expires, so that no clock can stop the stack.
    """
    if (folder / _CERTIFICATE).exists():
        return
    try:
        from cryptography import x509
    except ImportError as error:
        raise StackError(
            f"the local stack makes a certificate for SeaweedFS, and can't ({error}): what it "
            "needs comes with camfleet's extra `local`"
        ) from error
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "camfleet")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime(2000, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(9999, 12, 31, tzinfo=dt.UTC))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    private.write(folder / _KEY, pem.decode())
    private.write(folder / _CERTIFICATE, certificate.public_bytes(Encoding.PEM).decode())


def configuration(folder: str) -> str:
    """Return the sections of security.toml; `folder` is the one of the certificate."""
    pair = f'cert = "{folder}/{_CERTIFICATE}"\nkey = "{folder}/{_KEY}"\n'
    trusted = f'ca = "{folder}/{_CERTIFICATE}"\n'
    sections = [
        f"[grpc]\n{trusted}",
        *(f"[grpc.{part}]\n{pair}" for part in _GRPC),
        *(f"[https.{part}]\n{pair}{trusted}" for part in _HTTPS),
        f"[https.client]\nenabled = true\n{pair}{trusted}",
    ]
    return "".join(sections)


def check_ports(host: str, ports: Iterable[int]) -> None:
    """Raise `StackError` if a gRPC port answers without TLS.

    SeaweedFS only warns of a certificate that it can't use, and then talks to everybody.
    """
    for port in ports:
        with socket.create_connection((host, port), 5) as stranger:
            stranger.sendall(_PREFACE)
            try:
                answer = stranger.recv(1)
            except ConnectionError:
                continue
        if answer == b"\0":  # the settings with which an HTTP/2 server begins
            raise StackError(
                f"SeaweedFS would let every user of this machine use its port {port}: this `weed` "
                "doesn't read its certificate; use the one of camfleet's extra `local`"
            )
