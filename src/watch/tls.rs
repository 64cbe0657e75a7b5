//! TLS with the API server, as Go's client speaks it.
//!
//! In: the client's configuration. Out: what the connector needs: which servers are trusted, and the certificate
//! that says who this proxy is. Does not connect, and does not read the system's certificate authorities where
//! the configuration says which authority to trust, or that any server is to be taken.

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

/// Where a certificate or a key was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The field of the kubeconfig.
    pub field: &'static str,
    /// The file that it names, if it names one.
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

/// Why TLS cannot be spoken as the settings want it. All of these are the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{given}: {cause}")]
    File {
        /// Which one.
        given: Given,
        /// Why not.
        cause: std::io::Error,
    },
    /// A field that holds data holds something else.
    #[error("{0}: not base64")]
    NotBase64(Given),
    /// A text cannot be read as PEM.
    #[error("{given}: not PEM: {cause}")]
    NotPem {
        /// Which one.
        given: Given,
        /// What is wrong with it.
        cause: rustls_pki_types::pem::Error,
    },
    /// There should be a certificate.
    #[error("{0}: there is no certificate in it")]
    NoCertificate(Given),
    /// There should be a private key.
    #[error("{0}: there is no private key in it")]
    NoKey(Given),
    /// A private key that only a password opens.
    #[error(
        "{0}: the private key is encrypted, and nobody can be asked for its password: store it unencrypted"
    )]
    EncryptedKey(Given),
    /// A certificate without a key is of no use.
    #[error("{0}: client-key or client-key-data is missing")]
    CertificateWithoutKey(Given),
    /// A certificate cannot be understood.
    #[error("{0}: not a certificate of X.509")]
    NotX509(Given),
    /// A private key cannot be understood, or is of a kind that is not supported.
    #[error(
        "{given}: the private key cannot be used ({cause}): supported are ECDSA with P-256 and P-384, Ed25519, \
         and RSA with 2048 to 8192 bits"
    )]
    UnusableKey {
        /// Which one.
        given: Given,
        /// What is wrong with it.
        cause: rustls::Error,
    },
    /// The key is another certificate's.
    #[error("{key}: the private key does not belong to the certificate of {certificate}")]
    KeyOfAnother {
        /// Where the key was given.
        key: Given,
        /// Where the certificate was given.
        certificate: Given,
    },
    /// The authority that was given is none.
    #[error("certificate-authority: there is no certificate in it that can be used")]
    NoAuthority,
    /// No authority was given, and the system has none.
    #[error(
        "no certificate authority is given, and the system has none either: install the package ca-certificates, or \
         name the cluster's authority (certificate-authority or certificate-authority-data in the kubeconfig)"
    )]
    NoSystemAuthorities,
    /// The protocol's own set-up failed.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    /// The certificate of a credential plugin cannot be used.
    #[error("{0}")]
    Plugin(BoxError),
}

/// What the connector needs.
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

/// As client-go: the authority that is given, else the system's.
fn verifier(
    config: &Config,
    provider: &CryptoProvider,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let algorithms = provider.signature_verification_algorithms;
    // Where no TLS is spoken, nobody has to be trusted.
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

/// What says who this proxy is, if that is a certificate.
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

/// Only the library knows how to run a credential plugin. It is to look at nothing else, least of all at the
/// system's authorities.
fn of_plugin(config: &Config) -> Result<Option<Arc<dyn ResolvesClientCert>>, BoxError> {
    let mut config = config.clone();
    config.root_cert = Some(Vec::new());
    config.root_cert_file = None;
    let resolver = config.rustls_client_config()?.client_auth_cert_resolver;
    Ok(resolver.has_certs().then_some(resolver))
}

/// As many of the certificates as the library can take for authorities.
fn roots(given: &[CertificateDer<'static>]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(given.iter().cloned());
    roots
}
