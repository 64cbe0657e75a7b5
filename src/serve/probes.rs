//! The health server: `/healthz` and `/livez`.
//!
//! Takes the health of the proxy and whether this node is eligible. Sends status, headers and body as kube-proxy does.
//! Looks only at the path of a request.
//!
//! Source: spec 10.1.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use proxier::model::Family;

use super::health::{HealthStatus, Moment, ProxyHealth};
use super::listener::{Answer, Handler};
use super::plain;
use super::server::{Server, Unbound};
use crate::metrics::{Metrics, Probe};

/// The handler of the health server.
pub struct Probes {
    health: Arc<ProxyHealth>,
    metrics: Arc<Metrics>,
}

impl Probes {
    /// Creates the handler, which answers with `health` and counts its answers in `metrics`.
    pub fn new(health: Arc<ProxyHealth>, metrics: Arc<Metrics>) -> Self {
        Self { health, metrics }
    }

    /// Serves until it is cancelled, or returns the error if the port cannot be bound and the process must end.
    pub async fn serve(self, server: Server) -> Unbound {
        server.serve(Arc::new(self)).await
    }

    fn probe(&self, probe: Probe) -> Answer {
        let now = Moment::now();
        let standing = self.health.standing(now);
        // `Departs:` upstream is healthy before its first sync, and not alive while a family fails.
        let (is_healthy, is_eligible) = match probe {
            Probe::Healthz => {
                let is_healthy = standing.is_healthy() && self.health.has_synced();
                (is_healthy, Some(self.health.is_node_eligible()))
            }
            Probe::Livez => (!self.health.is_stuck(now), None),
        };
        let is_good = is_healthy && is_eligible != Some(false);
        let status = if is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        self.metrics.probes.answered(probe, status.as_u16());
        plain::json(status, body(&standing, is_healthy, is_eligible, now.wall))
    }
}

impl Handler for Probes {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        match request.uri().path() {
            "/healthz" => self.probe(Probe::Healthz),
            "/livez" => self.probe(Probe::Livez),
            _ => plain::not_found(),
        }
    }
}

/// Returns the body of an answer. `Quirk:` if all is well, `lastUpdated` is the present.
fn body(
    standing: &HealthStatus,
    is_healthy: bool,
    is_eligible: Option<bool>,
    now: SystemTime,
) -> String {
    let is_good = is_healthy && is_eligible != Some(false);
    let updated = if is_good { Some(now) } else { standing.last_updated() };
    let mut body = format!(
        "{{\"lastUpdated\":\"{}\",\"currentTime\":\"{}\"",
        updated.map_or_else(never, rfc3339),
        rfc3339(now)
    );
    // Writing to a String cannot fail.
    if let Some(is_eligible) = is_eligible {
        let _ = write!(body, ",\"nodeEligible\":{is_eligible}");
    }
    let _ = write!(body, ",\"healthy\":{is_healthy}");
    let families = Family::BOTH.into_iter().filter_map(|family| {
        let health = (*standing.families.of(family))?;
        let (updated, is_healthy) = (rfc3339(health.last_updated), health.is_healthy);
        Some(format!("\"{family}\":{{\"lastUpdated\":\"{updated}\",\"healthy\":{is_healthy}}}"))
    });
    let families: Vec<_> = families.collect();
    if !families.is_empty() {
        let _ = write!(body, ",\"status\":{{{}}}", families.join(","));
    }
    body.push('}');
    body
}

/// Writes a time as RFC 3339 with as many digits of a second as needed. Writes Go's zero time if the time is out of
/// range.
fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| never(), |time| time.to_string())
}

/// Go's zero time.
fn never() -> String {
    "0001-01-01T00:00:00Z".to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proxier::model::PerFamily;

    use super::*;
    use crate::serve::FamilyHealth;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 250)
    }

    #[test]
    fn a_node_that_is_not_to_stay_says_so_beside_its_health() {
        let standing = HealthStatus { families: PerFamily { v4: None, v6: None } };
        let text = body(&standing, true, Some(false), at(60));
        let wanted = "{\"lastUpdated\":\"0001-01-01T00:00:00Z\",\
                      \"currentTime\":\"1970-01-01T00:01:00.25Z\",\
                      \"nodeEligible\":false,\"healthy\":true}";
        assert_eq!(text, wanted);
    }

    #[test]
    fn one_family_that_lags_makes_it_unwell_and_the_last_update_shows() {
        let v4 = FamilyHealth { last_updated: at(10), is_healthy: true };
        let v6 = FamilyHealth { last_updated: at(5), is_healthy: false };
        let standing = HealthStatus { families: PerFamily { v4: Some(v4), v6: Some(v6) } };
        let text = body(&standing, false, None, at(100));
        let wanted = "{\"lastUpdated\":\"1970-01-01T00:00:10.25Z\",\
                      \"currentTime\":\"1970-01-01T00:01:40.25Z\",\"healthy\":false,\"status\":{\
                      \"IPv4\":{\"lastUpdated\":\"1970-01-01T00:00:10.25Z\",\"healthy\":true},\
                      \"IPv6\":{\"lastUpdated\":\"1970-01-01T00:00:05.25Z\",\"healthy\":false}}}";
        assert_eq!(text, wanted);
    }
}
