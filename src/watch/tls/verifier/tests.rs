//! Tests each of Go's rules that the library lacks, and the certificates that break it.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustls::crypto::ring;

use super::*;

const NAME: &str = "kubernetes.default.svc";

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    params
}

/// The parameters of a certificate that may be an authority's.
fn authority(common_name: &str) -> CertificateParams {
    let mut params = params(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn root(params: CertificateParams) -> CertifiedIssuer<'static, KeyPair> {
    CertifiedIssuer::self_signed(params, key()).unwrap()
}

fn itself(params: &CertificateParams) -> CertificateDer<'static> {
    params.self_signed(&key()).unwrap().der().clone()
}

fn issued(params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> CertificateDer<'static> {
    params.signed_by(&key(), issuer).unwrap().der().clone()
}

/// Returns about the seconds from the epoch to the first of January of a year.
fn year(year: u64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs((year - 1970) * 31_557_600 + 86_400))
}

fn judged_at(
    now: UnixTime,
    trusted: &[&CertificateDer<'static>],
    shown: &[&CertificateDer<'static>],
    name: &'static str,
) -> Result<(), CertificateError> {
    let algorithms = ring::default_provider().signature_verification_algorithms;
    let trusted = trusted.iter().map(|der| (*der).clone()).collect();
    let verifier = Verifier::new(trusted, algorithms).unwrap();
    let [leaf, rest @ ..] = shown else { panic!("nothing shown") };
    let rest: Vec<_> = rest.iter().map(|der| (*der).clone()).collect();
    let name = ServerName::try_from(name).unwrap();
    match verifier.verify_server_cert(leaf, &rest, &name, &[], now) {
        Ok(_) => Ok(()),
        Err(Error::InvalidCertificate(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

fn judged(
    trusted: &[&CertificateDer<'static>],
    shown: &[&CertificateDer<'static>],
) -> Result<(), CertificateError> {
    judged_at(year(2026), trusted, shown, NAME)
}

const UNKNOWN: Result<(), CertificateError> = Err(CertificateError::UnknownIssuer);

#[test]
fn an_ordinary_certificate_is_judged_by_the_library() {
    let (root, other) = (root(authority("root")), root(authority("other")));
    let leaf = issued(&params("leaf"), &root);
    assert_eq!(judged(&[root.der()], &[&leaf]), Ok(()));
    assert_eq!(judged(&[other.der()], &[&leaf]), UNKNOWN);
}

#[test]
fn a_certificate_that_is_trusted_itself_has_to_be_right_otherwise() {
    let own = itself(&authority("own"));
    assert_eq!(judged(&[&own], &[&own]), Ok(()));
    let late = judged_at(year(2031), &[&own], &[&own], NAME);
    assert_eq!(late, Err(CertificateError::Expired));
    let early = judged_at(year(2019), &[&own], &[&own], NAME);
    assert_eq!(early, Err(CertificateError::NotValidYet));
    let misnamed = judged_at(year(2026), &[&own], &[&own], "other");
    assert!(matches!(misnamed, Err(CertificateError::NotValidForNameContext { .. })));
    assert_eq!(judged(&[&own], &[&itself(&authority("own"))]), UNKNOWN, "another key");
}

#[test]
fn a_certificate_of_an_authority_nobody_knows_may_be_trusted_itself() {
    let (unknown, other) = (root(authority("unknown")), root(authority("other")));
    let leaf = issued(&params("leaf"), &unknown);
    assert_eq!(judged(&[&leaf, other.der()], &[&leaf]), Ok(()));
    assert_eq!(judged(&[other.der()], &[&leaf]), UNKNOWN);
}

#[test]
fn purposes_count_also_where_a_certificate_is_trusted_itself() {
    let with = |purpose| {
        let mut params = authority("own");
        params.extended_key_usages = vec![purpose];
        itself(&params)
    };
    for (purpose, wanted) in [
        (ExtendedKeyUsagePurpose::ServerAuth, Ok(())),
        (ExtendedKeyUsagePurpose::Any, Ok(())),
        (ExtendedKeyUsagePurpose::ClientAuth, Err(CertificateError::InvalidPurpose)),
    ] {
        let own = with(purpose);
        assert_eq!(judged(&[&own], &[&own]), wanted);
    }
}

#[test]
fn a_certificate_for_any_purpose_is_one_for_servers() {
    let root = root(authority("root"));
    let mut params = params("leaf");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    assert_eq!(judged(&[root.der()], &[&issued(&params, &root)]), Ok(()));
}

#[test]
fn an_authority_that_serves_is_issued_by_one_that_is_trusted() {
    let root = root(authority("root"));
    let leaf = issued(&authority("leaf"), &root);
    assert_eq!(judged(&[root.der()], &[&leaf]), Ok(()));
    let namesake = self::root(authority("root"));
    assert_eq!(judged(&[namesake.der()], &[&leaf]), UNKNOWN, "the signature is another's");
    let late = judged_at(year(2031), &[root.der()], &[&leaf], NAME);
    assert_eq!(late, Err(CertificateError::Expired));
}

/// True if a root with these parameters may issue an authority that serves.
fn issues(root_params: CertificateParams) -> Result<(), CertificateError> {
    let root = root(root_params);
    let leaf = issued(&authority("leaf"), &root);
    judged(&[root.der()], &[&leaf])
}

#[test]
fn who_issues_has_to_be_allowed_to() {
    assert_eq!(issues(authority("root")), Ok(()));
    assert_eq!(issues(params("root")), UNKNOWN, "not an authority");
    let mut root = authority("root");
    root.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    assert_eq!(issues(root), UNKNOWN, "its key is not for certificates");
    let mut root = authority("root");
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    assert_eq!(issues(root), Ok(()));
    let mut root = authority("root");
    root.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    assert_eq!(issues(root), UNKNOWN, "it is not for servers");
    let mut root = authority("root");
    root.not_after = date_time_ymd(2025, 1, 1);
    assert_eq!(issues(root), UNKNOWN, "it has expired");
    let mut root = authority("root");
    root.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("svc".to_owned())],
        excluded_subtrees: vec![],
    });
    assert_eq!(issues(root), UNKNOWN, "constraints on names are the library's");
}

#[test]
fn intermediate_certificates_lead_to_the_one_that_is_trusted() {
    let root = root(authority("root"));
    let middle = |params: CertificateParams| {
        let middle = CertifiedIssuer::signed_by(params, key(), &root).unwrap();
        let leaf = issued(&authority("leaf"), &middle);
        (middle.der().clone(), leaf)
    };
    let (good, leaf) = middle(authority("middle"));
    let noise = itself(&authority("noise"));
    assert_eq!(judged(&[root.der()], &[&leaf, &noise, &good]), Ok(()));
    assert_eq!(judged(&[root.der()], &[&leaf]), UNKNOWN);
    assert_eq!(judged(&[&noise], &[&leaf, &good]), UNKNOWN);
    let (bad, leaf) = middle(params("middle"));
    assert_eq!(judged(&[root.der()], &[&leaf, &bad]), UNKNOWN, "not an authority");
    let mut expired = authority("middle");
    expired.not_after = date_time_ymd(2025, 1, 1);
    let (bad, leaf) = middle(expired);
    assert_eq!(judged(&[root.der()], &[&leaf, &bad]), UNKNOWN);
}

#[test]
fn no_more_certificates_are_between_than_their_authority_allows() {
    let limited = |limit| {
        let mut params = authority("root");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(limit));
        root(params)
    };
    for (limit, wanted) in [(0, UNKNOWN), (1, Ok(()))] {
        let root = limited(limit);
        let middle = CertifiedIssuer::signed_by(authority("middle"), key(), &root).unwrap();
        let leaf = issued(&authority("leaf"), &middle);
        assert_eq!(judged(&[root.der()], &[&leaf, middle.der()]), wanted, "{limit}");
    }
    let root = limited(0);
    assert_eq!(judged(&[root.der()], &[&issued(&authority("leaf"), &root)]), Ok(()));
}

#[test]
fn a_way_that_leads_back_to_itself_is_left() {
    let (root, middle) = (root(authority("root")), key());
    let own = authority("middle").self_signed(&middle).unwrap().der().clone();
    let good = authority("middle").signed_by(&middle, &root).unwrap().der().clone();
    let leaf = issued(&authority("leaf"), &Issuer::new(authority("middle"), middle));
    assert_eq!(judged(&[root.der()], &[&leaf, &own, &good]), Ok(()));
}

#[test]
fn a_server_cannot_keep_the_search_busy() {
    // Each one is issued by every other one, and none by a trusted one.
    let keys: Vec<_> = (0..7).map(|_| key()).collect();
    let mut shown = Vec::new();
    for issuer in &keys {
        let issuer = Issuer::new(authority("loop"), issuer);
        let all = keys.iter().map(|key| authority("loop").signed_by(key, &issuer).unwrap());
        shown.extend(all.map(|certificate| certificate.der().clone()));
    }
    let trusted = root(authority("loop"));
    let begun = std::time::Instant::now();
    assert_eq!(judged(&[trusted.der()], &shown.iter().collect::<Vec<_>>()), UNKNOWN);
    // Without a limit the search would practically never end.
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn nobody_is_trusted_by_nothing() {
    let algorithms = ring::default_provider().signature_verification_algorithms;
    assert!(Verifier::new(vec![], algorithms).is_none());
    assert!(Verifier::new(vec![CertificateDer::from(vec![0, 1])], algorithms).is_none());
}
