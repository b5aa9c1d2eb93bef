"""Certificates that tests issue themselves."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import ipaddress
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HOSTS = ('localhost', '127.0.0.1')

_DAY = dt.timedelta(days=1)


@dataclasses.dataclass
class Certificate:
    """Paths of a certificate and of its private key, both PEM."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority in a directory, made there if it is not there yet.

    Attributes:
        certificate: Path of its certificate.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.certificate = directory / 'ca.pem'
        self._key_path = directory / 'ca.key'
        if self.certificate.exists():
            loaded = serialization.load_pem_private_key(self._key_path.read_bytes(), None)
            assert isinstance(loaded, ec.EllipticCurvePrivateKey)
            self._key = loaded
        else:
            directory.mkdir(parents=True)
            self._key = ec.generate_private_key(ec.SECP256R1())
            _write(_sign(_name('test authority'), self._key, None), self.certificate)
            _write_key(self._key, self._key_path)

    def issue(
        self,
        name: str,
        *,
        expired: bool = False,
        early: bool = False,
        hosts: Sequence[str] = HOSTS,
    ) -> Certificate:
        """A certificate of a server and a client alike.

        Args:
            name: Its common name, and that of its files.
            expired: Whether it ended yesterday.
            early: Whether it begins tomorrow.
            hosts: Names and addresses of the hosts that it is for.
        """
        issued = Certificate(self._directory / f'{name}.pem', self._directory / f'{name}.key')
        if not issued.certificate.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            begins, ends = (-10, -1) if expired else (1, 10) if early else (-10, 10)
            signed = _sign(_name(name), key, self._key, days=(begins, ends), hosts=hosts)
            _write(signed, issued.certificate)
            _write_key(key, issued.key)
        return issued


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(host: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    return x509.DNSName(host)


def _sign(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey | None,
    *,
    days: tuple[int, int] = (-10, 10),
    hosts: Sequence[str] = HOSTS,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_name('test authority'))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * _DAY)
        .not_valid_after(now + days[1] * _DAY)
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    )
    if signer is not None:
        names = [_host(host) for host in hosts]
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    return builder.sign(signer or key, hashes.SHA256())


def _write(certificate: x509.Certificate, path: Path) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _write_key(key: ec.EllipticCurvePrivateKey, path: Path) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
