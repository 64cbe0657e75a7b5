//! Builds the requests of lists and watches.
//!
//! Takes a resource, its selectors, and the version to start from. Returns GET requests of the API
//! conventions (kubernetes.io/docs/reference/using-api/api-concepts). Does not send them.

use std::fmt::Write;
use std::time::Duration;

use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderValue, Request};

/// The number of objects in a page of a list, as in client-go.
pub(super) const PAGE: u32 = 500;

/// The user agent, which appears in the API server's audit log.
pub(super) const AGENT: &str = concat!("ipvs-proxy/", env!("CARGO_PKG_VERSION"), " (linux)");

/// A kind of object in all namespaces, narrowed by selectors.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    path: &'static str,
    selectors: String,
}

/// The freshness that a list needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Any state that the API server has in its cache. It is cheap and good enough for the first
    /// list.
    Any,
    /// The latest state, so that a list after an interruption does not go back in time.
    Latest,
}

/// The point at which a watch starts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Since<'a> {
    /// All present objects, then a bookmark, then changes.
    State(Freshness),
    /// The changes after this resource version.
    Version(&'a str),
}

impl Resource {
    pub(super) fn new(path: &'static str) -> Self {
        Self { path, selectors: String::new() }
    }

    pub(super) fn labels(mut self, selector: &str) -> Self {
        pair(&mut self.selectors, "labelSelector", selector);
        self
    }

    /// Asks for a table, as `kubectl get` does, whose rows hold no object.
    pub(super) fn table(&self, freshness: Freshness) -> http::Result<Request<Vec<u8>>> {
        let mut query = self.selectors.clone();
        pair(&mut query, "includeObject", "None");
        match freshness {
            Freshness::Any => pair(&mut query, "resourceVersion", "0"),
            Freshness::Latest => {}
        }
        let mut request = self.get(&query)?;
        let table = HeaderValue::from_static("application/json;as=Table;v=v1;g=meta.k8s.io");
        request.headers_mut().insert(ACCEPT, table);
        Ok(request)
    }

    pub(super) fn fields(mut self, selector: &str) -> Self {
        pair(&mut self.selectors, "fieldSelector", selector);
        self
    }

    /// Builds the request of a list, or of the page that `token` continues. A `limit` of 0 means no
    /// limit.
    pub(super) fn list(
        &self,
        freshness: Freshness,
        limit: u32,
        token: Option<&str>,
    ) -> http::Result<Request<Vec<u8>>> {
        let mut query = self.selectors.clone();
        if limit > 0 {
            pair(&mut query, "limit", &limit.to_string());
        }
        match (token, freshness) {
            (Some(token), _) => pair(&mut query, "continue", token),
            (None, Freshness::Any) => pair(&mut query, "resourceVersion", "0"),
            (None, Freshness::Latest) => {}
        }
        self.get(&query)
    }

    /// Builds the request of a watch that the server ends after `timeout`.
    pub(super) fn watch(
        &self,
        since: Since<'_>,
        timeout: Duration,
    ) -> http::Result<Request<Vec<u8>>> {
        let mut query = self.selectors.clone();
        pair(&mut query, "watch", "true");
        pair(&mut query, "allowWatchBookmarks", "true");
        pair(&mut query, "timeoutSeconds", &timeout.as_secs().to_string());
        match since {
            Since::State(freshness) => {
                pair(&mut query, "sendInitialEvents", "true");
                pair(&mut query, "resourceVersionMatch", "NotOlderThan");
                match freshness {
                    Freshness::Any => pair(&mut query, "resourceVersion", "0"),
                    Freshness::Latest => {}
                }
            }
            Since::Version(version) => pair(&mut query, "resourceVersion", version),
        }
        self.get(&query)
    }

    fn get(&self, query: &str) -> http::Result<Request<Vec<u8>>> {
        Request::get(format!("{}?{query}", self.path))
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, AGENT)
            .body(Vec::new())
    }
}

/// Appends `name=value`, percent-encoded except for the unreserved characters of RFC 3986.
fn pair(query: &mut String, name: &str, value: &str) {
    if !query.is_empty() {
        query.push('&');
    }
    query.push_str(name);
    query.push('=');
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                query.push(byte.into());
            }
            // Writing to a String cannot fail.
            _ => drop(write!(query, "%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Freshness, PAGE, Resource, Since};

    fn node() -> Resource {
        Resource::new("/api/v1/nodes").labels("!a/b").fields("metadata.name=n 1")
    }

    fn text(request: http::Result<http::Request<Vec<u8>>>) -> String {
        request.unwrap().uri().to_string()
    }

    const HEAD: &str = "/api/v1/nodes?labelSelector=%21a%2Fb&fieldSelector=metadata.name%3Dn%201";

    #[test]
    fn the_first_list_takes_what_the_server_has() {
        let first = text(node().list(Freshness::Any, PAGE, None));
        assert_eq!(first, format!("{HEAD}&limit=500&resourceVersion=0"));
        let next = text(node().list(Freshness::Any, PAGE, Some("a=b")));
        assert_eq!(next, format!("{HEAD}&limit=500&continue=a%3Db"));
        let latest = text(node().list(Freshness::Latest, 0, None));
        assert_eq!(latest, HEAD);
    }

    #[test]
    fn a_watch_begins_with_the_state_or_after_a_version() {
        let watch = format!("{HEAD}&watch=true&allowWatchBookmarks=true&timeoutSeconds=300");
        let timeout = Duration::from_secs(300);
        let state = text(node().watch(Since::State(Freshness::Any), timeout));
        let initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        assert_eq!(state, format!("{watch}&{initial}&resourceVersion=0"));
        let latest = text(node().watch(Since::State(Freshness::Latest), timeout));
        assert_eq!(latest, format!("{watch}&{initial}"));
        let version = text(node().watch(Since::Version("7"), timeout));
        assert_eq!(version, format!("{watch}&resourceVersion=7"));
    }
}
