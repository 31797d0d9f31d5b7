"""The callback server over TLS: who may connect, and a certificate that is replaced while it runs."""

from __future__ import annotations

import http.client
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from conftest import GUARD
from posemesh_node import Node
from posemesh_node.testing import LocalDds

EC_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def make_certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """A certificate for loopback that is its own authority, and its key."""
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    subject = ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    # The usual extensions would make it the certificate of an authority, which no client may have.
    extensions = ["-extensions", "usr_cert"]
    command = ["openssl", "req", "-x509", *EC_KEY, *subject, *extensions, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def status(node: Node, trusted: Path, client: tuple[Path, Path] | None = None) -> int:
    """The status of the response to a health check by a client that trusts this certificate."""
    context = ssl.create_default_context(cafile=trusted)
    if client is not None:
        context.load_cert_chain(*client)
    address = node.callback_address
    assert address is not None
    connection = http.client.HTTPSConnection(address, context=context, timeout=GUARD)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    finally:
        connection.close()


def test_clients_need_a_certificate_and_a_replaced_one_is_used(dds: LocalDds, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "server")
    client, stranger = make_certificate(tmp_path, "client"), make_certificate(tmp_path, "stranger")
    options = dds.options(
        callback_bind="127.0.0.1:0",
        callback_tls_cert=cert,
        callback_tls_key=key,
        callback_tls_client_ca=client[0],
    )
    with Node.start(**options) as node:
        assert status(node, cert, client) == 200
        for other in (None, stranger):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                status(node, cert, other)

        next_cert, next_key = make_certificate(tmp_path, "next")
        next_key.replace(key)
        trusted = tmp_path / "trusted.pem"
        trusted.write_bytes(next_cert.read_bytes())
        next_cert.replace(cert)
        # The files are looked at once a second, by a connection.
        deadline = time.monotonic() + GUARD
        while time.monotonic() < deadline:
            try:
                assert status(node, trusted, client) == 200
                return
            except ssl.SSLCertVerificationError:
                pass
        pytest.fail("the former certificate stays in use")
