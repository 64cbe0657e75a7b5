//! Configures TLS with the API server to behave as Go's client does.
//!
//! Takes the client's configuration. Returns the settings of the connector: which servers are
//! trusted, and the client's certificate. Does not connect. Does not read the system's certificate
//! authorities if the configuration names an authority or accepts any server.

use std::path::PathBuf;
use std::sync::Arc;

use kube::Config;
use kube::client::ConfigExt;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use tower::BoxError;

use self::anyone::Anyone;
use self::verifier::Verifier;

mod anyone;
mod identity;
mod verifier;

/// The place where a certificate or a key was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The field of the kubeconfig.
    pub field: &'static str,
    /// The file that the field names, if it names one.
    pub file: Option<PathBuf>,
}

impl std::fmt::Display for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{} {}", self.field, file.display()),
            None => f.write_str(self.field),
        }
    }
}

/// The reasons why TLS cannot be configured. The operator has to fix each of them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{given}: {cause}")]
    File {
        /// The place where the file was named.
        given: Given,
        /// The cause of the error.
        cause: std::io::Error,
    },
    /// A field for data does not hold base64.
    #[error("{0}: not base64")]
    NotBase64(Given),
    /// A text cannot be read as PEM.
    #[error("{given}: not PEM: {cause}")]
    NotPem {
        /// The place where it was given.
        given: Given,
        /// The cause of the error.
        cause: rustls_pki_types::pem::Error,
    },
    /// A text holds no certificate.
    #[error("{0}: there is no certificate in it")]
    NoCertificate(Given),
    /// A text holds no private key.
    #[error("{0}: there is no private key in it")]
    NoKey(Given),
    /// A private key is encrypted with a password.
    #[error(
        "{0}: the private key is encrypted, and this proxy cannot ask for its password: store it unencrypted"
    )]
    EncryptedKey(Given),
    /// A certificate was given without a key.
    #[error("{0}: client-key or client-key-data is missing")]
    CertificateWithoutKey(Given),
    /// A certificate cannot be parsed.
    #[error("{0}: not a certificate of X.509")]
    NotX509(Given),
    /// A private key cannot be parsed, or is of a kind that is not supported.
    #[error(
        "{given}: the private key cannot be used ({cause}): supported are ECDSA with P-256 and P-384, Ed25519, \
         and RSA with 2048 to 8192 bits"
    )]
    UnusableKey {
        /// The place where the key was given.
        given: Given,
        /// The cause of the error.
        cause: rustls::Error,
    },
    /// The key belongs to another certificate.
    #[error("{key}: the private key does not belong to the certificate of {certificate}")]
    KeyOfAnother {
        /// The place where the key was given.
        key: Given,
        /// The place where the certificate was given.
        certificate: Given,
    },
    /// The given authority has no certificate that can be used.
    #[error("certificate-authority: there is no certificate in it that can be used")]
    NoAuthority,
    /// No authority was given, and the system has none.
    #[error(
        "no certificate authority is given, and the system has none either: install the package ca-certificates, or \
         name the cluster's authority (certificate-authority or certificate-authority-data in the kubeconfig)"
    )]
    NoSystemAuthorities,
    /// The TLS library refused the configuration.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    /// The certificate of a credential plugin cannot be used.
    #[error("{0}")]
    Plugin(BoxError),
}

/// Returns the TLS settings of the connector.
///
/// # Errors
/// See [`TlsError`].
pub(super) fn client_config(config: &Config) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(config, &provider)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(match identity(config, &provider)? {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    })
}

/// Returns the verifier of servers. As client-go: it trusts the given authority, else the system's.
fn verifier(
    config: &Config,
    provider: &CryptoProvider,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let algorithms = provider.signature_verification_algorithms;
    // Without TLS there is no certificate to verify.
    if config.accept_invalid_certs || config.cluster_url.scheme_str() == Some("http") {
        return Ok(Arc::new(Anyone));
    }
    let verifier = match &config.root_cert {
        Some(given) => {
            let given = given.iter().map(|der| CertificateDer::from(der.clone())).collect();
            Verifier::new(given, algorithms).ok_or(TlsError::NoAuthority)?
        }
        None => {
            let found = rustls_native_certs::load_native_certs().certs;
            Verifier::new(found, algorithms).ok_or(TlsError::NoSystemAuthorities)?
        }
    };
    Ok(Arc::new(verifier))
}

/// Returns the client's certificate, if it has one.
fn identity(
    config: &Config,
    provider: &CryptoProvider,
) -> Result<Option<Arc<dyn ResolvesClientCert>>, TlsError> {
    if config.auth_info.exec.is_some() {
        return of_plugin(config).map_err(TlsError::Plugin);
    }
    let identity = identity::read(&config.auth_info, provider)?;
    Ok(identity.map(|identity| Arc::new(SingleCertAndKey::from(identity)) as Arc<_>))
}

/// Returns the certificate of a credential plugin. Only the library can run a plugin. It must read
/// nothing else, above all not the system's authorities.
fn of_plugin(config: &Config) -> Result<Option<Arc<dyn ResolvesClientCert>>, BoxError> {
    let mut config = config.clone();
    config.root_cert = Some(Vec::new());
    config.root_cert_file = None;
    let resolver = config.rustls_client_config()?.client_auth_cert_resolver;
    Ok(resolver.has_certs().then_some(resolver))
}

/// Returns the certificates that the library accepts as authorities.
fn roots(given: &[CertificateDer<'static>]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(given.iter().cloned());
    roots
}
