//! Who is trusted.

use std::{fmt, net::IpAddr, path::Path, sync::Arc};

use rustls::{
    CipherSuite, ClientConfig, ClientConnection, Connection, DigitallySignedStruct, RootCertStore,
    ServerConfig, ServerConnection, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{
        CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime, pem::PemObject,
    },
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};

use crate::{address::Address, error::StreamError, session::Session};

/// The name that certificates made here bear, and that clients of such ask for.
const NOBODY: &str = "proxystore.invalid";

/// What the client's side of TLS shows and trusts.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    /// The name to ask for, if not the host's.
    name: Option<ServerName<'static>>,
}

/// Files with certificates and keys, in PEM.
#[derive(Clone, Copy, Debug, Default)]
pub struct TlsFiles<'a> {
    /// Certificates of the authorities that are trusted; none trusts those of the system.
    pub authority: Option<&'a Path>,
    /// This side's certificate, its issuers after it.
    pub certificate: Option<&'a Path>,
    /// The certificate's private key.
    pub key: Option<&'a Path>,
}

impl TlsClient {
    /// Trusts servers whose certificate an authority has signed for their name, and shows a
    /// certificate if there is one. TLS 1.2 is spoken with servers that know no better.
    ///
    /// # Errors
    ///
    /// [`StreamError::Certificate`] naming the file.
    pub fn from_files(files: TlsFiles<'_>) -> Result<Self, StreamError> {
        let roots = match files.authority {
            Some(path) => roots(path)?,
            None => system_roots()?,
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| unusable("the ciphers", error))?
            .with_root_certificates(roots);
        let config = match identity(files)? {
            None => builder.with_no_client_auth(),
            Some((chain, key, paths)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| unfit(paths, &error))?,
        };
        Ok(Self {
            config: Arc::new(config),
            name: None,
        })
    }

    /// Encrypts, in TLS 1.3, and takes whatever certificate the server has: whoever calls this
    /// proves by a secret, over the [channel binding](crate::Stream::channel_binding), who is there.
    ///
    /// # Errors
    ///
    /// If the ciphers cannot be had.
    pub fn anonymous() -> Result<Self, StreamError> {
        let provider = provider();
        let verifier = Anybody(Arc::clone(&provider));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable("the ciphers", error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            name: ServerName::try_from(NOBODY).ok(),
        })
    }

    pub(crate) fn session(&self, address: &Address) -> Result<Session, StreamError> {
        let name = match (&self.name, address) {
            (Some(name), _) => name.clone(),
            (None, Address::Tcp { host, .. }) => server_name(host)?,
            (None, Address::Unix(_)) => server_name("localhost")?,
        };
        let connection = ClientConnection::new(Arc::clone(&self.config), name)
            .map_err(|error| unusable("a session", error))?;
        Ok(Session::new(Connection::Client(connection)))
    }
}

/// What the server's side of TLS shows and trusts. Servers speak TLS 1.3.
#[derive(Clone)]
pub struct TlsServer(Arc<ServerConfig>);

impl TlsServer {
    /// Shows a certificate, and trusts clients that show one which an authority has signed. All
    /// three files are needed.
    ///
    /// # Errors
    ///
    /// [`StreamError::Certificate`] naming the file, or what is missing.
    pub fn mutual(files: TlsFiles<'_>) -> Result<Self, StreamError> {
        let Some(authority) = files.authority else {
            let missing = "an authority to check clients by is missing";
            return Err(unusable("the options", missing));
        };
        let Some((chain, key, paths)) = identity(files)? else {
            let missing = "a certificate and its key are missing";
            return Err(unusable("the options", missing));
        };
        let provider = provider();
        let roots = Arc::new(roots(authority)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| no_file(authority, error.to_string()))?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable("the ciphers", error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| unfit(paths, &error))?;
        Ok(Self::without_tickets(config))
    }

    /// Encrypts, with a certificate made on the spot that nobody need trust: see
    /// [`TlsClient::anonymous`].
    ///
    /// # Errors
    ///
    /// If the certificate cannot be made.
    pub fn anonymous() -> Result<Self, StreamError> {
        let made = rcgen::generate_simple_self_signed([NOBODY.to_owned()])
            .map_err(|error| unusable("a new certificate", error))?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable("the ciphers", error))?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .map_err(|error| unusable("a new certificate", error))?;
        Ok(Self::without_tickets(config))
    }

    fn without_tickets(mut config: ServerConfig) -> Self {
        // Nobody resumes: connections are few and live long.
        config.send_tls13_tickets = 0;
        Self(Arc::new(config))
    }

    pub(crate) fn session(&self) -> Result<Session, StreamError> {
        let connection = ServerConnection::new(Arc::clone(&self.0))
            .map_err(|error| unusable("a session", error))?;
        Ok(Session::new(Connection::Server(connection)))
    }
}

/// The ciphers, the fastest first: AES with 128 bits where the processor has instructions for it.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    let aes = has_aes();
    provider
        .cipher_suites
        .sort_by_key(|suite| match suite.suite() {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => u8::from(!aes),
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => u8::from(aes),
            _ => 2,
        });
    Arc::new(provider)
}

fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// A chain of certificates, the private key of the first, and the files of both.
type Identity<'a> = (
    Vec<CertificateDer<'static>>,
    PrivateKeyDer<'static>,
    (&'a Path, &'a Path),
);

fn identity(files: TlsFiles<'_>) -> Result<Option<Identity<'_>>, StreamError> {
    let (certificate, key) = match (files.certificate, files.key) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(certificate), None) => {
            return Err(no_file(certificate, "the private key for it is missing"));
        }
        (None, Some(key)) => {
            return Err(no_file(key, "the certificate for it is missing"));
        }
    };
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| no_file(key, format!("there is no private key: {error}")))?;
    Ok(Some((chain, private, (certificate, key))))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, StreamError> {
    let failed = |error| no_file(path, format!("there is no certificate: {error}"));
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if found.is_empty() {
        return Err(no_file(path, "there is no certificate"));
    }
    Ok(found)
}

fn roots(path: &Path) -> Result<RootCertStore, StreamError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| no_file(path, error.to_string()))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, StreamError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems carry certificates that nothing can read; the others count.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let problem = found.errors.first().map(ToString::to_string);
        let problem = problem.unwrap_or_else(|| "there are none".to_owned());
        return Err(unusable("the system's authorities", problem));
    }
    Ok(roots)
}

fn server_name(host: &str) -> Result<ServerName<'static>, StreamError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(address.into()));
    }
    ServerName::try_from(host.to_owned())
        .map_err(|_| unusable(host, "this is no name that a certificate could bear"))
}

/// What is wrong with a certificate and a key that are some.
fn unfit((certificate, key): (&Path, &Path), error: &rustls::Error) -> StreamError {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            let certificate = certificate.display();
            no_file(
                key,
                format!("this is not the private key of the certificate in {certificate}"),
            )
        }
        error => no_file(certificate, error.to_string()),
    }
}

fn no_file(path: &Path, problem: impl Into<String>) -> StreamError {
    StreamError::Certificate {
        path: path.to_owned(),
        problem: problem.into(),
    }
}

fn unusable(what: &str, problem: impl fmt::Display) -> StreamError {
    StreamError::Tls {
        what: what.to_owned(),
        problem: problem.to_string(),
    }
}

/// Takes any certificate whose key the server really has.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TlsClient")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsServer").finish_non_exhaustive()
    }
}
