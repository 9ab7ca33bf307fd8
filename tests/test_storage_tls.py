"""TLS to PostgreSQL: a server is believed only if the given authority certified it under the name that was asked for.

The server of the tests is built without OpenSSL, so TLS ends at a proxy before it, which speaks the server's side of
PostgreSQL's SSLRequest; the client's side, where the checks are made, is libpq as users have it.
"""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import make_url

from tuner.errors import StorageError
from tuner.storage.storage import open_storage

SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL's protocol, section 54.7
DAY = datetime.timedelta(days=1)


def certify(folder: Path, name: str, authority: str | None, san: list[x509.GeneralName]) -> None:
    """Write NAME.pem and NAME.key, signed by an authority made before, or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer, signer = subject, key
    if authority is not None:
        issuer = x509.load_pem_x509_certificate((folder / f"{authority}.pem").read_bytes()).subject
        signer = serialization.load_pem_private_key((folder / f"{authority}.key").read_bytes(), None)  # type: ignore[assignment]
    at = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(at - DAY).not_valid_after(at + DAY)
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
    )  # fmt: skip
    if san:
        made = made.add_extension(x509.SubjectAlternativeName(san), critical=False)
    (folder / f"{name}.pem").write_bytes(made.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    encoding, how = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / f"{name}.key").write_bytes(key.private_bytes(encoding, how, serialization.NoEncryption()))


def pump(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes one way until either side ends."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass  # the other direction ended the connection
    finally:
        for one in (source, target):
            one.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities; a server certified by the first as `localhost`, but not as 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    certify(folder, "authority", None, [])
    certify(folder, "stranger", None, [])
    certify(folder, "server", "authority", [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("::1"))])
    return folder


@pytest.fixture(scope="module")
def port(folder: Path, postgres_tables: str) -> Iterator[int]:
    """Where TLS to the server is answered."""
    behind = f"{make_url(postgres_tables).query['host']}/.s.PGSQL.{make_url(postgres_tables).port or 5432}"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")

    def answer(client: socket.socket) -> None:
        try:
            if client.recv(8, socket.MSG_WAITALL) != SSL_REQUEST:
                client.close()  # `hostssl` only
                return
            client.sendall(b"S")
            inside = context.wrap_socket(client, server_side=True)
        except OSError:  # a client that does not believe the certificate hangs up
            client.close()
            return
        server = socket.socket(socket.AF_UNIX)
        server.connect(behind)
        threading.Thread(target=pump, args=(inside, server), daemon=True).start()
        pump(server, inside)

    def listen() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # the test is over
            threading.Thread(target=answer, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, daemon=True).start()
        yield listener.getsockname()[1]


def url(port: int, authority: Path, host: str = "localhost", mode: str = "verify-full") -> str:
    return f"postgresql://postgres@{host}:{port}/postgres?sslmode={mode}&sslrootcert={quote(str(authority))}"


@pytest.mark.postgres
def test_a_study_is_stored_over_tls_that_was_verified(port: int, folder: Path) -> None:
    storage = open_storage(url(port, folder / "authority.pem"))
    study_id = storage.create_or_load("over_tls", ["maximize"])
    pgconn: Any = storage._backend.read(lambda c: c.connection.driver_connection.pgconn)
    assert pgconn.ssl_in_use
    assert storage.identity(study_id)
    storage.delete_study(study_id)
    storage.close()


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("authority", "host", "why"),
    [("stranger", "localhost", "certificate verify failed"), ("authority", "127.0.0.1", "does not match host name")],
)
def test_a_server_that_is_not_the_one_is_refused_in_one_line(
    port: int, folder: Path, authority: str, host: str, why: str
) -> None:
    with pytest.raises(StorageError, match=why) as refused:
        open_storage(url(port, folder / f"{authority}.pem", host))
    assert "\n" not in str(refused.value)
