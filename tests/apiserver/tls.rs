//! Who the fixture API server is.
//!
//! In: its address. Out: an authority, a certificate for the address, and a kubeconfig that trusts
//! both. Never: a file.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::ByteString;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The token that the server admits.
pub const TOKEN: &str = "the-token-of-the-tests";

/// Certificates of one server.
pub struct Identity {
    authority: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    /// Draws an authority and a certificate for this address.
    pub fn new(address: IpAddr) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![address.to_string()])
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        Self {
            authority: authority.pem(),
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
        }
    }

    /// The server's side of TLS.
    pub fn acceptor(&self, http2: bool) -> TlsAcceptor {
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)
            .unwrap();
        if http2 {
            config.alpn_protocols.push(b"h2".to_vec());
        }
        config.alpn_protocols.push(b"http/1.1".to_vec());
        TlsAcceptor::from(Arc::new(config))
    }

    /// The authority's certificate.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// A kubeconfig, as JSON, which is YAML.
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
