//! Reads the client's certificate and key.
//!
//! Takes a kubeconfig's user. Returns a chain of certificates with its key, or an error. Does not
//! check the validity period: the server does. Does not put any part of a key into an error.
//!
//! Source: client-go's `transport.TLSConfigFor` and Go's `tls.X509KeyPair`.

use std::fs;

use k8s_openapi::ByteString;
use kube::config::AuthInfo;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::{Given, TlsError};

/// A PEM text, and the place where it was given.
struct Pem {
    given: Given,
    text: Vec<u8>,
}

/// Reads the user's certificate and its key. `None` if there is no certificate. As client-go: data
/// takes precedence over a file, and a key without a certificate is ignored.
pub(super) fn read(
    user: &AuthInfo,
    provider: &CryptoProvider,
) -> Result<Option<CertifiedKey>, TlsError> {
    let (data, file) = (&user.client_certificate_data, &user.client_certificate);
    let names = ["client-certificate-data", "client-certificate"];
    let Some(certificate) = load(names, data.as_deref(), file.as_deref())? else {
        return Ok(None);
    };
    let data = key_data(user);
    let names = ["client-key-data", "client-key"];
    let Some(key) = load(names, data.as_deref(), user.client_key.as_deref())? else {
        return Err(TlsError::CertificateWithoutKey(certificate.given));
    };
    join(certificate, key, provider).map(Some)
}

/// Returns `client-key-data`. The secret's own type opens only to a crate that nothing else here
/// needs.
fn key_data(user: &AuthInfo) -> Option<String> {
    let opened = serde_json::to_value(user).ok()?;
    opened.get("client-key-data")?.as_str().map(str::to_owned)
}

fn load(
    [data_field, file_field]: [&'static str; 2],
    data: Option<&str>,
    file: Option<&str>,
) -> Result<Option<Pem>, TlsError> {
    if let Some(data) = data {
        let given = Given { field: data_field, file: None };
        let Some(text) = base64(data) else { return Err(TlsError::NotBase64(given)) };
        return Ok(Some(Pem { given, text }));
    }
    let Some(file) = file else { return Ok(None) };
    let given = Given { field: file_field, file: Some(file.into()) };
    match fs::read(file) {
        Ok(text) => Ok(Some(Pem { given, text })),
        Err(cause) => Err(TlsError::File { given, cause }),
    }
}

/// Decodes base64 as Go does: line ends inside are ignored.
fn base64(data: &str) -> Option<Vec<u8>> {
    let joined = data.replace(['\r', '\n'], "");
    serde_json::from_value::<ByteString>(Value::String(joined)).ok().map(|bytes| bytes.0)
}

fn join(certificate: Pem, key: Pem, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = chain(&certificate)?;
    let private = private_key(&key)?;
    let signer = match provider.key_provider.load_private_key(private) {
        Ok(signer) => signer,
        Err(cause) => return Err(TlsError::UnusableKey { given: key.given, cause }),
    };
    let first = chain.first().map(|first| X509Certificate::from_der(first));
    let Some(Ok((_, leaf))) = first else {
        return Err(TlsError::NotX509(certificate.given));
    };
    // The library's own comparison refuses certificates of version 1, which Go accepts.
    let is_other = signer.public_key().is_some_and(|own| own.as_ref() != leaf.public_key().raw);
    if is_other {
        return Err(TlsError::KeyOfAnother { key: key.given, certificate: certificate.given });
    }
    Ok(CertifiedKey::new(chain, signer))
}

/// Returns the certificates of a PEM text. Other blocks may stand between them: kubelet's file has
/// the key too.
fn chain(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(TlsError::NoCertificate(pem.given.clone())),
        Ok(found) => Ok(found),
        Err(cause) => Err(TlsError::NotPem { given: pem.given.clone(), cause }),
    }
}

/// Returns the first private key. Other blocks may stand before it: OpenSSL writes the curve's
/// parameters there.
fn private_key(pem: &Pem) -> Result<PrivateKeyDer<'static>, TlsError> {
    // The library ignores one of the two marks of encryption, and takes the other one's text for
    // broken base64.
    let text = String::from_utf8_lossy(&pem.text);
    let is_encrypted = text.lines().map(str::trim).any(|line| {
        line == "-----BEGIN ENCRYPTED PRIVATE KEY-----"
            || (line.starts_with("Proc-Type:") && line.ends_with("ENCRYPTED"))
    });
    let given = || pem.given.clone();
    match PrivateKeyDer::from_pem_slice(&pem.text) {
        Ok(key) => Ok(key),
        Err(_) if is_encrypted => Err(TlsError::EncryptedKey(given())),
        Err(pem::Error::NoItemsFound) => Err(TlsError::NoKey(given())),
        Err(cause) => Err(TlsError::NotPem { given: given(), cause }),
    }
}
