"""A certificate authority of the test's own: server and client certificates in a folder."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Authority:
    """`ca.pem`, `server.pem` (127.0.0.1), `client.pem` with the encrypted key `client.key`; all in `folder`."""

    def __init__(self, folder: Path, passphrase: str):
        self.folder, self.passphrase = folder, passphrase
        self._ca_key = ec.generate_private_key(ec.SECP256R1())
        self._ca = self._certificate("authority", self._ca_key, ca=True)
        self._write("ca.pem", self._ca)
        for name, extended in (("server", "SERVER_AUTH"), ("client", "CLIENT_AUTH")):
            key = ec.generate_private_key(ec.SECP256R1())
            self._write(f"{name}.pem", self._certificate(name, key, extended=extended))
            encryption = (
                serialization.BestAvailableEncryption(self.passphrase.encode())
                if name == "client"
                else serialization.NoEncryption()
            )
            (self.folder / f"{name}.key").write_bytes(
                key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
            )

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def server_context(self, client_wanted: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path("server.pem"), self.path("server.key"))
        if client_wanted:
            context.load_verify_locations(self.path("ca.pem"))
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _write(self, name: str, certificate: x509.Certificate) -> None:
        (self.folder / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _certificate(self, name, key, ca=False, extended=None) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"test {name}")])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if ca else self._ca.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
            )
        )
        if extended:
            usage = getattr(x509.ExtendedKeyUsageOID, extended)
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return builder.sign(self._ca_key, hashes.SHA256())
