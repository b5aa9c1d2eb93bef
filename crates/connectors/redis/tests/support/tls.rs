//! Certificates, made for a test.

use std::{fs, path::PathBuf};

use proxystore_core::Config;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::{
    Checked,
    server::{Server, text},
};

/// An authority, and certificates that it has signed.
pub(crate) struct Certificates {
    directory: TempDir,
}

impl Certificates {
    pub(crate) fn make() -> Checked<Self> {
        let directory = TempDir::new()?;
        let certificates = Self { directory };
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "tests");
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?;
        fs::write(certificates.path("ca.pem"), authority.pem())?;
        let issuer = Issuer::new(params, key);
        for (name, hosts) in [
            (
                "server",
                vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            ),
            ("client", vec!["client".to_owned()]),
        ] {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new(hosts)?.signed_by(&key, &issuer)?;
            fs::write(certificates.path(&format!("{name}.pem")), certificate.pem())?;
            fs::write(
                certificates.path(&format!("{name}.key")),
                key.serialize_pem(),
            )?;
        }
        Ok(certificates)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a server that wants clients with certificates, and the options of a connector to it.
    pub(crate) fn start(&self, options: &[&str]) -> Checked<(Server, Config)> {
        let path = |name| self.path(name).to_string_lossy().into_owned();
        let (ca, certificate, key) = (path("ca.pem"), path("server.pem"), path("server.key"));
        let tls = [
            "--tls-port",
            "$BUS",
            "--tls-ca-cert-file",
            &ca,
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-auth-clients",
            "yes",
        ];
        let server = Server::start(&[&tls, options].concat())?;
        let config = Config::new()
            .with("hostname", "127.0.0.1")
            .with("port", i64::from(server.bus))
            .with("authority", text(&ca))
            .with("certificate", text(path("client.pem")))
            .with("certificate_key", text(path("client.key")));
        Ok((server, config))
    }
}
