//! Finds the API server and the credentials for it.
//!
//! Takes a kubeconfig file, a server address, or the environment and files of a pod. Returns an
//! [`Access`]: the client's configuration, and the files that it came from, for messages. Does not
//! put the value of a secret into an error.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::uri::Authority;
use http::{HeaderValue, Uri};
use kube::Config;
use kube::config::AuthInfo;

use self::proxies::Proxies;
use super::client::{ApiError, ApiSettings};
use crate::config::without_password;

mod kubeconfig;
mod proxies;

/// The folder in which a pod finds its credentials.
const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The API server's address and the credentials that a pod has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// The API server's address or name.
    pub host: String,
    /// The port of the API server.
    pub port: String,
    /// The folder that holds `token` and `ca.crt`.
    pub folder: PathBuf,
}

impl ServiceAccount {
    /// Reads the environment of this process. The error is the name of the variable that is missing
    /// or empty.
    pub fn from_environment() -> Result<Self, &'static str> {
        let variable =
            |name| std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or(name);
        Ok(Self {
            host: variable("KUBERNETES_SERVICE_HOST")?,
            port: variable("KUBERNETES_SERVICE_PORT")?,
            folder: FOLDER.into(),
        })
    }
}

/// The client's configuration, and the files that it came from.
pub(super) struct Access {
    pub(super) config: Config,
    /// The token file. It is read for each request, because it is rotated while the proxy runs.
    pub(super) token: Option<PathBuf>,
    /// The file that holds the credentials.
    pub(super) credentials: Option<PathBuf>,
    /// The file that says which certificates are trusted.
    pub(super) authority: Option<PathBuf>,
    /// Warnings for the operator: settings that are not used or that weaken security.
    pub(super) ignored: Vec<String>,
}

impl Access {
    /// Reads the kubeconfig or the pod's account, and the server's URL, as the settings say.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub(super) async fn read(settings: &ApiSettings) -> Result<Self, ApiError> {
        let mut access = match (&settings.kubeconfig, &settings.master) {
            (Some(path), _) => of_kubeconfig(path.clone()).await?,
            (None, Some(url)) => Self::of(Config::new(master(url)?), None),
            (None, None) => of_pod(settings)?,
        };
        match (&settings.master, &settings.kubeconfig) {
            (Some(url), _) => access.config.cluster_url = master(url)?,
            (None, Some(path)) => access.config.cluster_url = server(&access.config, path)?,
            (None, None) => {}
        }
        access.drop_userinfo(settings)?;
        access.ignored.extend(Proxies::of_environment().passed_over(&access.config.cluster_url));
        Ok(access)
    }

    fn of(config: Config, file: Option<PathBuf>) -> Self {
        Self {
            config,
            token: None,
            credentials: file.clone(),
            authority: file,
            ignored: Vec::new(),
        }
    }

    /// Removes the name and the password from the server's URL. No API server since Kubernetes 1.19
    /// accepts a password, and libraries log the URL unchanged.
    fn drop_userinfo(&mut self, settings: &ApiSettings) -> Result<(), ApiError> {
        let url = &mut self.config.cluster_url;
        let authority = url.authority().map(|authority| authority.as_str());
        let apart = authority.and_then(|whole| Some((whole, whole.rsplit_once('@')?.1)));
        let Some((authority, host)) = apart else { return Ok(()) };
        // `without_password` is not used here: an `@` in the path has to stay.
        let bare = url.to_string().replacen(authority, host, 1);
        let source = match (&settings.master, &settings.kubeconfig) {
            (None, Some(path)) => format!("kubeconfig {}", path.display()),
            (_, _) => "--master".to_owned(),
        };
        *url = located(&bare).map_err(|cause| ApiError::Master { url: bare, cause })?;
        self.ignored.push(format!(
            "{source}: the name and the password in the server's URL are not used; a token or a \
             certificate has to say who this proxy is"
        ));
        Ok(())
    }
}

/// Returns the API server's address, as the value of `--master` or else the kubeconfig says. `None` if neither is
/// given, or if the host of the URL is a name. Reads no certificates and runs no program.
///
/// # Errors
/// See [`ApiError`].
pub fn server_address(
    kubeconfig: Option<&Path>,
    url: Option<&str>,
) -> Result<Option<IpAddr>, ApiError> {
    let url = match (url, kubeconfig) {
        (Some(url), _) => master(url)?.to_string(),
        (None, Some(path)) => kubeconfig::server(path)
            .map_err(|cause| ApiError::Kubeconfig { path: path.to_owned(), cause })?,
        (None, None) => return Ok(None),
    };
    Ok(address(&url))
}

async fn of_kubeconfig(path: PathBuf) -> Result<Access, ApiError> {
    let refuse = |cause: String| ApiError::Kubeconfig { path: path.clone(), cause };
    let (mut config, note) = kubeconfig::read(&path).await.map_err(refuse)?;
    check_token(&mut config.auth_info).map_err(refuse)?;
    let is_any_server_taken = config.accept_invalid_certs.then(|| {
        "insecure-skip-tls-verify: the API server's certificate is not checked, so any host that answers at its \
         address gets the credentials"
            .to_owned()
    });
    let notes = note.into_iter().chain(is_any_server_taken);
    let notes: Vec<_> =
        notes.map(|note| format!("kubeconfig {}: {note}", path.display())).collect();
    let mut access = Access::of(config, Some(path));
    access.ignored.extend(notes);
    let user = &access.config.auth_info;
    if let (None, Some(file)) = (&user.client_certificate_data, &user.client_certificate) {
        access.credentials = Some(file.into());
    }
    // A token file takes precedence over a token in the kubeconfig.
    if let Some(file) = access.config.auth_info.token_file.take() {
        access.config.auth_info.token = None;
        access.credentials = Some(file.clone().into());
        access.token = Some(file.into());
    }
    Ok(access)
}

/// Returns the server's URL from a kubeconfig. As client-go: a URL without a scheme is HTTPS if
/// certificates are configured, else HTTP.
fn server(config: &Config, path: &Path) -> Result<Uri, ApiError> {
    let url = config.cluster_url.to_string();
    let user = &config.auth_info;
    let speaks_tls = config.root_cert.is_some()
        || config.accept_invalid_certs
        || user.client_certificate.is_some()
        || user.client_certificate_data.is_some();
    let whole = match config.cluster_url.scheme() {
        Some(_) => url.clone(),
        None if speaks_tls => format!("https://{url}"),
        None => format!("http://{url}"),
    };
    located(&whole).map_err(|cause| ApiError::Kubeconfig {
        path: path.to_owned(),
        cause: format!("server {}: {cause}", without_password(&url)),
    })
}

/// Parses a URL that has a host. kube would panic at a URL without one.
fn located(url: &str) -> Result<Uri, String> {
    let uri: Uri = url.parse().map_err(|cause: http::uri::InvalidUri| cause.to_string())?;
    if let Some(scheme) = uri.scheme_str().filter(|scheme| !["http", "https"].contains(scheme)) {
        return Err(format!("the scheme {scheme:?} is not supported: use https or http"));
    }
    let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
        return Err("neither a URL with a host nor HOST:PORT".to_owned());
    };
    // The library drops an invalid port, and the token would go to the scheme's default port.
    match port(authority) {
        Some(port) if authority.port_u16().is_none() => {
            Err(format!("the port {port:?} is not a number from 1 to 65535"))
        }
        Some(_) if authority.port_u16() == Some(0) => {
            Err("the port 0 is not a number from 1 to 65535".to_owned())
        }
        _ => Ok(uri),
    }
}

/// Returns the text in the place of the port. An empty port is the scheme's default, as in Go:
/// `None`.
fn port(authority: &Authority) -> Option<&str> {
    let whole = authority.as_str();
    let place = whole.rsplit_once('@').map_or(whole, |(_, place)| place);
    let after = place.rsplit_once(']').map_or(place, |(_, after)| after);
    after.split_once(':').map(|(_, port)| port).filter(|port| !port.is_empty())
}

/// Trims the token that stands in the kubeconfig. Refuses a token that no HTTP header can carry,
/// because kube would panic at it.
fn check_token(user: &mut AuthInfo) -> Result<(), String> {
    if user.token.is_none() {
        return Ok(());
    }
    let refused = || "the user's token holds what no HTTP header can carry".to_owned();
    // The secret's own type opens only to a crate that nothing else here needs.
    let opened = serde_json::to_value(&*user).map_err(|_| refused())?;
    let token = opened.get("token").and_then(|token| token.as_str()).unwrap_or_default().trim();
    user.token = match token {
        "" => None,
        token => Some(header(token).map(|_| token.to_owned().into()).ok_or_else(refused)?),
    };
    Ok(())
}

fn of_pod(settings: &ApiSettings) -> Result<Access, ApiError> {
    let account = settings.pod.clone().map_or_else(ServiceAccount::from_environment, Ok);
    let account =
        account.map_err(|name| ApiError::NotInCluster { cause: format!("{name} is not set") })?;
    let (token, authority) = (account.folder.join("token"), account.folder.join("ca.crt"));
    let refuse = |path: &Path, cause: String| ApiError::Pod { path: path.to_owned(), cause };
    let read = |path: &Path| std::fs::read(path).map_err(|error| refuse(path, error.to_string()));
    read(&token)?;
    let trusted = certificates(&read(&authority)?).map_err(|cause| refuse(&authority, cause))?;
    let mut config = Config::new(url(&account)?);
    config.root_cert = Some(trusted);
    Ok(Access {
        config,
        token: Some(token.clone()),
        credentials: Some(token),
        authority: Some(authority),
        ignored: Vec::new(),
    })
}

/// Returns the URL's host if it is an IP address. `None` if it is a name.
pub(super) fn address(url: &str) -> Option<IpAddr> {
    let url: Uri = url.parse().ok()?;
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
    // IPv4-mapped addresses of Services are read as IPv4 too, so the two compare equal.
    host.parse().ok().map(|address: IpAddr| address.to_canonical())
}

fn url(account: &ServiceAccount) -> Result<Uri, ApiError> {
    let ServiceAccount { host, port, .. } = account;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let url = format!("https://{host}:{port}");
    let refuse = |cause: &dyn std::fmt::Display| ApiError::NotInCluster {
        cause: format!("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT make {url}: {cause}"),
    };
    port.parse::<u16>().map_err(|cause| refuse(&cause))?;
    url.parse().map_err(|cause| refuse(&cause))
}

/// Parses the certificates of a PEM file. An error if there is none.
fn certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(found.into_iter().map(|certificate| certificate.to_vec()).collect())
}

fn master(url: &str) -> Result<Uri, ApiError> {
    let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    located(&whole).map_err(|cause| ApiError::Master { url: without_password(url), cause })
}

/// Reads a token file and returns the value of the `Authorization` header. White space around the
/// token is ignored. The value is marked as sensitive, so that it is not logged.
pub(super) fn bearer(path: &Path) -> io::Result<HeaderValue> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let text = std::fs::read_to_string(path)?;
    let token = text.trim();
    if token.is_empty() {
        return Err(invalid("the file is empty"));
    }
    header(token).ok_or_else(|| invalid("the file holds no token"))
}

fn header(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::{Access, ApiSettings, address};

    #[tokio::test]
    async fn the_client_gets_no_password() {
        let settings =
            |url: &str| ApiSettings { master: Some(url.to_owned()), ..ApiSettings::default() };
        let access = Access::read(&settings("https://me:s3cr3t@h:1/p@q")).await.unwrap();
        assert_eq!(access.config.cluster_url, "https://h:1/p@q");
        assert!(access.ignored[0].starts_with("--master: "));
        let access = Access::read(&settings("h:1")).await.unwrap();
        assert_eq!(
            (access.config.cluster_url.to_string(), access.ignored.len()),
            ("http://h:1/".into(), 0)
        );
    }

    #[test]
    fn a_server_has_an_address_where_its_url_has_no_name() {
        for (url, found) in [
            ("https://192.0.2.10:6443", Some("192.0.2.10")),
            ("https://192.0.2.10/clusters/c-1", Some("192.0.2.10")),
            ("https://[2001:db8::10]:6443", Some("2001:db8::10")),
            ("https://[::ffff:192.0.2.10]", Some("192.0.2.10")),
            ("https://api.example.org:6443", None),
            ("", None),
        ] {
            assert_eq!(address(url).map(|ip| ip.to_string()).as_deref(), found, "{url}");
        }
    }
}
