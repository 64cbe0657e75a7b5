//! Makes the certificates of the test API server and of its clients.
//!
//! Takes the server's address. Returns an authority, a certificate for the address, a kubeconfig
//! that trusts both, and certificates for clients. Does not write files.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use k8s_openapi::ByteString;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer, UnixTime,
};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The token that the server accepts.
pub const TOKEN: &str = "the-token-of-the-tests";

/// The issuer of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouched {
    /// An authority, as in most clusters.
    Authority,
    /// An authority, but the certificate could be one itself. This is what `openssl req -x509 -CA`
    /// makes.
    AuthorityAsOne,
    /// The server's certificate is its own authority.
    Itself,
}

/// A client's certificate and key, both as PEM.
#[derive(Clone, Debug)]
pub struct Client {
    pub certificate: String,
    pub key: String,
}

impl Client {
    /// Makes a new certificate and key.
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "system:kube-proxy");
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// The certificates of one server.
pub struct Identity {
    authority: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    /// The client that is accepted. While this is `None`, no certificate is requested.
    admitted: Mutex<Option<CertificateDer<'static>>>,
}

impl Identity {
    /// Makes an authority and a certificate for this address.
    pub fn new(address: IpAddr, vouched: Vouched) -> Self {
        let names = || CertificateParams::new(vec![address.to_string()]).unwrap();
        let as_authority = |mut params: CertificateParams| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let authority = as_authority(CertificateParams::new(Vec::new()).unwrap());
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap());
        let (authority, key) = (authority.unwrap(), KeyPair::generate().unwrap());
        let certificate = match vouched {
            Vouched::Authority => names().signed_by(&key, &authority),
            Vouched::AuthorityAsOne => as_authority(names()).signed_by(&key, &authority),
            Vouched::Itself => as_authority(names()).self_signed(&key),
        };
        let certificate = certificate.unwrap();
        let authority =
            if vouched == Vouched::Itself { certificate.pem() } else { authority.pem() };
        let (certificate, key) = (certificate.der().clone(), key.serialize_der());
        Self { authority, certificate, key, admitted: Mutex::default() }
    }

    /// Requests certificates from now on, and accepts this client and no other.
    pub fn admit(&self, client: &Client) {
        let certificate = CertificateDer::from_pem_slice(client.certificate.as_bytes()).unwrap();
        *super::lock(&self.admitted) = Some(certificate);
    }

    /// Returns the server's side of TLS.
    pub fn acceptor(&self, http2: bool) -> TlsAcceptor {
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        let builder = ServerConfig::builder();
        let builder = match super::lock(&self.admitted).clone() {
            Some(admitted) => builder.with_client_cert_verifier(Arc::new(Admitted::new(admitted))),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(vec![self.certificate.clone()], key).unwrap();
        if http2 {
            config.alpn_protocols.push(b"h2".to_vec());
        }
        config.alpn_protocols.push(b"http/1.1".to_vec());
        TlsAcceptor::from(Arc::new(config))
    }

    /// Returns the authority's certificate.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns a kubeconfig as JSON, which is valid YAML.
    pub fn kubeconfig(&self, url: &str, token: &str) -> String {
        let authority = ByteString(self.authority.clone().into_bytes());
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {
                "server": url,
                "certificate-authority-data": authority,
            }}],
            "users": [{"name": "test", "user": {"token": token}}],
        })
        .to_string()
    }
}

/// A verifier that accepts one certificate of any version, as Go does. The library knows only
/// version 3.
#[derive(Debug)]
struct Admitted {
    certificate: CertificateDer<'static>,
    provider: CryptoProvider,
}

impl Admitted {
    fn new(certificate: CertificateDer<'static>) -> Self {
        Self { certificate, provider: ring::default_provider() }
    }
}

impl ClientCertVerifier for Admitted {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if *shown == self.certificate {
            return Ok(ClientCertVerified::assertion());
        }
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 is spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
        let key = SubjectPublicKeyInfoDer::from(certificate.public_key().raw);
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
