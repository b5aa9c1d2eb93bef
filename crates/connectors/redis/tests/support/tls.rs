//! Servers that want certificates.

use std::path::PathBuf;

use proxystore_core::Config;

use super::{
    Checked,
    authority::Authority,
    server::{Server, text},
};

/// An authority, and what it has signed for a server and a client.
pub(crate) struct Certificates {
    authority: Authority,
}

impl Certificates {
    pub(crate) fn make() -> Self {
        let authority = Authority::new();
        for name in ["server", "client"] {
            authority.issue(name, |_| {});
        }
        Self { authority }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.authority.path(name)
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
