//! Warns of HTTP proxies in the environment, which this client does not use.
//!
//! Takes the variables that Go programs obey, and a server's URL. Returns a warning for the
//! operator where Go's client would go through a proxy. Does not fail: a tool that passes the
//! environment on, such as kubeadm, may not have meant the API server.
//!
//! Source: `golang.org/x/net/http/httpproxy`.

use std::net::IpAddr;

use http::Uri;
use proxier::model::Net;

use crate::config::without_password;

/// The HTTP proxies that the environment names.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies {
    /// The variable's name and the proxy for `http://`.
    http: Option<(&'static str, String)>,
    /// The variable's name and the proxy for `https://`.
    https: Option<(&'static str, String)>,
    /// The list of hosts that are reached without a proxy (`NO_PROXY`).
    direct: String,
}

impl Proxies {
    pub(super) fn of_environment() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: [&'static str; 2]| {
            let given = |name| variable(name).filter(|value| !value.is_empty());
            names.into_iter().find_map(|name| Some((name, given(name)?)))
        };
        Self {
            http: first(["HTTP_PROXY", "http_proxy"]),
            https: first(["HTTPS_PROXY", "https_proxy"]),
            direct: first(["NO_PROXY", "no_proxy"]).map(|(_, list)| list).unwrap_or_default(),
        }
    }

    /// Returns a warning if the environment names a proxy for this server.
    pub(super) fn passed_over(&self, server: &Uri) -> Option<String> {
        let (proxy, usual) = match server.scheme_str() {
            Some("https") => (&self.https, 443),
            _ => (&self.http, 80),
        };
        let (name, proxy) = proxy.as_ref()?;
        let host = server.host()?.trim_start_matches('[').trim_end_matches(']').to_lowercase();
        if is_direct(&self.direct, &host, server.port_u16().unwrap_or(usual)) {
            return None;
        }
        Some(format!(
            "{name} is {}, which is not supported: the API server {} is reached directly (with {host} in \
             NO_PROXY this is not said)",
            without_password(proxy),
            without_password(server.to_string().trim_end_matches('/')),
        ))
    }
}

/// True if the host needs no proxy, because it is this machine or is in the list.
fn is_direct(list: &str, host: &str, port: u16) -> bool {
    let ip: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || ip.is_some_and(|ip| ip.is_loopback()) {
        return true;
    }
    let mut words = list.split(',').map(|word| word.trim().to_lowercase());
    words.any(|word| covers(&word, host, ip, port))
}

fn covers(word: &str, host: &str, ip: Option<IpAddr>, port: u16) -> bool {
    if word == "*" {
        return true;
    }
    if let Ok(net) = word.parse::<Net>() {
        return ip.is_some_and(|ip| net.contains(&ip));
    }
    let (name, only) = split_port(word);
    if name.is_empty() || only.is_some_and(|only| only.parse() != Ok(port)) {
        return false;
    }
    if let Ok(wanted) = name.parse::<IpAddr>() {
        return ip == Some(wanted);
    }
    // `.a.b` and `*.a.b` match only names below `a.b`; `a.b` matches itself too.
    let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
    let below = name.strip_prefix('.').unwrap_or(name);
    let is_below = host.strip_suffix(below).is_some_and(|front| front.ends_with('.'));
    is_below || (host == name)
}

/// Splits a word into a host and, if there is one, a port.
fn split_port(word: &str) -> (&str, Option<&str>) {
    if let Some(rest) = word.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => (rest, None),
        };
    }
    match word.split_once(':') {
        // A word with more than one colon is an IPv6 address.
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        Some(_) | None => (word, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(server: &str, variables: &[(&str, &str)]) -> Option<String> {
        let value = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Proxies::of(value).passed_over(&server.parse().unwrap())
    }

    #[test]
    fn the_proxy_of_the_servers_scheme_is_told_without_its_password() {
        let all = [("HTTPS_PROXY", "http://me:s3cr3t@p:1"), ("http_proxy", "http://q:2")];
        let https = said("https://10.0.0.1:6443/", &all).unwrap();
        assert!(https.starts_with("HTTPS_PROXY is http://p:1, which is not supported"), "{https}");
        assert!(https.contains("the API server https://10.0.0.1:6443 is"), "{https}");
        assert!(said("http://h/", &all).unwrap().starts_with("http_proxy is http://q:2"));
        assert_eq!(said("http://h/", &[("HTTPS_PROXY", "http://p:1"), ("HTTP_PROXY", "")]), None);
        for here in ["https://localhost/", "https://127.0.0.1:1/", "https://[::1]:6443/"] {
            assert_eq!(said(here, &all), None, "{here}");
        }
    }

    #[test]
    fn what_no_proxy_covers_is_not_told() {
        for (list, server, is_direct) in [
            ("*", "h:1", true),
            ("a, H", "h:1", true),
            ("h:2", "h:1", false),
            ("h:443", "h", true),
            ("b.c", "a.b.c", true),
            ("b.c", "ab.c", false),
            (".b.c", "b.c", false),
            ("*.b.c", "a.b.c", true),
            (",", "h", false),
            ("10.0.0.0/8,::/0", "10.2.3.4:6443", true),
            ("10.0.0.0/8", "11.2.3.4:6443", false),
            ("10.0.0.0/8", "h", false),
            ("fd00::/8", "[fd00::1]:6443", true),
            ("fd00::1", "[fd00::1]:6443", true),
            ("[fd00::1]:1", "[fd00::1]:6443", false),
            ("10.0.0.1", "10.0.0.1:6443", true),
        ] {
            let variables = [("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", list)];
            let said = said(&format!("https://{server}/"), &variables);
            assert_eq!(said.is_none(), is_direct, "{list} for {server}: {said:?}");
        }
    }
}
