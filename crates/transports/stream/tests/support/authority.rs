//! Certificates, made for a test. Tests of other crates that speak TLS include this file, too.

use std::{fs, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority, and a directory with its own certificate, `ca.pem`, and those that it signs.
pub(crate) struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // What it signs would have the same name by default, and OpenSSL takes a certificate whose
        // issuer has its own name for one that signed itself.
        params.distinguished_name.push(DnType::CommonName, "tests");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(directory.path().join("ca.pem"), certificate.pem()).expect("room");
        Self {
            directory,
            issuer: Issuer::new(params, key),
        }
    }

    /// Where the file of this name is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Signs a certificate for this host, `name.pem`, whose key is `name.key`.
    pub(crate) fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let hosts = ["localhost", "127.0.0.1"].map(str::to_owned);
        let mut params = CertificateParams::new(hosts).expect("parameters");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).expect("room");
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("room");
    }
}

/// Makes a certificate one of the past.
pub(crate) fn expire(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
}
