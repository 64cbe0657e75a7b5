//! Verifies a server's certificate as Go does.
//!
//! Takes the trusted certificates and the chain that a server shows. Returns whether the server is
//! trusted. The library judges first. Three kinds of certificate that it refuses and Go accepts are
//! judged again by Go's rules: a certificate that is itself trusted, one of an authority that
//! serves with it, and one for any purpose. Does not refuse what the library accepts.
//!
//! Source: `crypto/x509/verify.go` of Go 1.25 (`Verify`, `isValid`, `CheckSignatureFrom`,
//! `checkChainForKeyUsage`).

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::roots;

/// The most signatures that are checked for one server, as in Go. The chain that it shows is not
/// trusted yet.
const MAX_SIGNATURE_CHECKS: u32 = 100;

/// A verifier that trusts servers which these certificates vouch for.
#[derive(Debug)]
pub(super) struct Verifier {
    library: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// Makes a verifier. `None` if none of the certificates can be used. As Go, skips those that
    /// cannot.
    pub(super) fn new(
        trusted: Vec<CertificateDer<'static>>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Option<Self> {
        let roots = Arc::new(roots(&trusted));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let library = WebPkiServerVerifier::builder_with_provider(roots, provider).build().ok()?;
        Some(Self { library, trusted, algorithms })
    }

    /// Judges a certificate by Go's rules. `None` if Go has no other rule than the library.
    fn judge(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Option<Result<(), Error>> {
        let leaf = parse(shown)?;
        let is_trusted = self.trusted.contains(shown);
        if !(is_trusted || is_authority(&leaf) || is_for_anything(&leaf)) {
            return None;
        }
        Some(self.judge_leaf(shown, &leaf, name, now).and_then(|()| {
            if is_trusted {
                return Ok(());
            }
            let shown: Vec<_> = intermediates.iter().filter_map(parse).collect();
            let trusted: Vec<_> = self.trusted.iter().filter_map(parse).collect();
            let checks_left = MAX_SIGNATURE_CHECKS;
            let algorithms = self.algorithms;
            let mut search =
                Search { trusted: &trusted, shown: &shown, algorithms, now, checks_left };
            match search.is_issued(&leaf, &mut Vec::new()) {
                true => Ok(()),
                false => Err(CertificateError::UnknownIssuer.into()),
            }
        }))
    }

    /// Checks the server's own certificate, which any issuer may have signed.
    fn judge_leaf(
        &self,
        shown: &CertificateDer<'_>,
        leaf: &X509Certificate<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        match seconds_of(now) {
            now if now < leaf.validity().not_before.timestamp() => {
                return Err(CertificateError::NotValidYet.into());
            }
            now if now > leaf.validity().not_after.timestamp() => {
                return Err(CertificateError::Expired.into());
            }
            _ => {}
        }
        if !is_for_servers(leaf) {
            return Err(CertificateError::InvalidPurpose.into());
        }
        // This also refuses critical extensions that are not understood.
        verify_server_name(&ParsedCertificate::try_from(shown)?, name)
    }
}

/// The search for a chain from a server's certificate to a trusted one.
struct Search<'a> {
    trusted: &'a [X509Certificate<'a>],
    shown: &'a [X509Certificate<'a>],
    algorithms: WebPkiSupportedAlgorithms,
    now: UnixTime,
    checks_left: u32,
}

impl<'a> Search<'a> {
    /// True if a trusted certificate has issued this one, directly or through intermediates.
    /// `below` holds the intermediates between the server's certificate and this one, and this one
    /// itself.
    fn is_issued(
        &mut self,
        certificate: &X509Certificate<'_>,
        below: &mut Vec<&'a X509Certificate<'a>>,
    ) -> bool {
        let (trusted, shown) = (self.trusted, self.shown);
        for root in trusted {
            if self.may_issue(root, certificate, below.len(), may_sign_as_root) {
                return true;
            }
        }
        for issuer in shown {
            let is_below = below.iter().any(|known| known.as_raw() == issuer.as_raw());
            if is_below || !self.may_issue(issuer, certificate, below.len(), is_authority) {
                continue;
            }
            below.push(issuer);
            if self.is_issued(issuer, below) {
                return true;
            }
            below.pop();
        }
        false
    }

    fn may_issue(
        &mut self,
        issuer: &X509Certificate<'_>,
        certificate: &X509Certificate<'_>,
        depth: usize,
        may_sign: fn(&X509Certificate<'_>) -> bool,
    ) -> bool {
        issuer.subject().as_raw() == certificate.issuer().as_raw()
            && may_sign(issuer)
            && signs_certificates(issuer)
            && is_for_servers(issuer)
            && is_valid(issuer, self.now)
            && allows_depth(issuer, depth)
            // Departs: constraints on names are left to the library, which refuses the rest.
            && matches!(issuer.name_constraints(), Ok(None))
            && self.has_signed(issuer, certificate)
    }

    /// True if the issuer's key made the signature, by any algorithm that the library supports. The
    /// certificate itself names the algorithm, so the name proves nothing.
    fn has_signed(
        &mut self,
        issuer: &X509Certificate<'_>,
        certificate: &X509Certificate<'_>,
    ) -> bool {
        let Some(left) = self.checks_left.checked_sub(1) else { return false };
        self.checks_left = left;
        let key = &issuer.public_key().subject_public_key.data;
        let signature = &certificate.signature_value.data;
        let message = certificate.tbs_certificate.as_ref();
        let mut algorithms = self.algorithms.all.iter();
        algorithms.any(|algorithm| algorithm.verify_signature(key, message, signature).is_ok())
    }
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

fn seconds_of(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn is_valid(certificate: &X509Certificate<'_>, now: UnixTime) -> bool {
    let validity = certificate.validity();
    (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&seconds_of(now))
}

fn is_authority(certificate: &X509Certificate<'_>) -> bool {
    let constraints = certificate.basic_constraints();
    constraints.is_ok_and(|found| found.is_some_and(|constraints| constraints.value.ca))
}

/// True if a trusted certificate may sign others. One of version 1 cannot say so.
fn may_sign_as_root(certificate: &X509Certificate<'_>) -> bool {
    is_authority(certificate) || certificate.version() == x509_parser::x509::X509Version::V1
}

/// True if the key may sign certificates. A certificate without key usage does not limit that.
fn signs_certificates(certificate: &X509Certificate<'_>) -> bool {
    let usage = certificate.key_usage();
    usage.is_ok_and(|found| found.is_none_or(|usage| usage.value.key_cert_sign()))
}

fn is_for_servers(certificate: &X509Certificate<'_>) -> bool {
    let purposes = certificate.extended_key_usage();
    purposes.is_ok_and(|found| found.is_none_or(|them| them.value.any || them.value.server_auth))
}

fn is_for_anything(certificate: &X509Certificate<'_>) -> bool {
    let purposes = certificate.extended_key_usage();
    purposes.is_ok_and(|found| found.is_some_and(|them| them.value.any))
}

/// True if `depth` intermediate certificates may be below this one.
fn allows_depth(certificate: &X509Certificate<'_>, depth: usize) -> bool {
    let constraints = certificate.basic_constraints().ok().flatten();
    let limit = constraints.and_then(|constraints| constraints.value.path_len_constraint);
    limit.is_none_or(|limit| u32::try_from(depth).is_ok_and(|depth| depth <= limit))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let library = &self.library;
        let judged =
            library.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        judged.or_else(|refused| {
            let judged = self.judge(end_entity, intermediates, server_name, now);
            judged.unwrap_or(Err(refused)).map(|()| ServerCertVerified::assertion())
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.library.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.library.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.library.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
