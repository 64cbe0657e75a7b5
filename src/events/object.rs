//! Event objects of the API.
//!
//! Takes an event, its time and the reporting host. Returns the object to create, or the patch that makes it a series.
//! Does not send requests.
//!
//! Source: spec 12.8; limits from `pkg/apis/core/validation/events.go`.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Event, Kind, Regarding};

/// The longest note that the API admits, in bytes.
const NOTE_MAX: usize = 1024;

/// The namespace and name of an Event object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Id {
    /// Names an event after its object and time. An event about a Node is in the namespace `default`.
    pub(super) fn new(regarding: &Regarding, at: SystemTime) -> Self {
        let (namespace, object) = match regarding {
            Regarding::Service(service) => (&*service.namespace, &*service.name),
            Regarding::Node(name) => ("default", &**name),
        };
        let nanos = at.duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_nanos());
        Self { namespace: namespace.to_owned(), name: format!("{object}.{nanos:x}") }
    }
}

/// Returns the object to create. `host` is the name of the machine.
pub(super) fn object(id: &Id, event: &Event, at: SystemTime, host: &str) -> Value {
    let mut object = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": id.namespace, "name": id.name},
        "eventTime": micro_time(at),
        "reportingController": "kube-proxy",
        "reportingInstance": format!("kube-proxy-{host}"),
        "type": match event.kind {
            Kind::Normal => "Normal",
            Kind::Warning => "Warning",
        },
        "reason": event.reason,
        "action": event.action,
        "regarding": regarding(&event.regarding),
    });
    if let (false, Some(object)) = (event.note.is_empty(), object.as_object_mut()) {
        object.insert("note".to_owned(), cut(&event.note).into());
    }
    object
}

/// Returns the patch for an event that has happened `count` times, the last time at `at`.
pub(super) fn series(count: u32, at: SystemTime) -> Value {
    json!({"series": {"count": count, "lastObservedTime": micro_time(at)}})
}

/// The reference to an object. A Node has no UID in it, as with kube-proxy.
fn regarding(object: &Regarding) -> Value {
    match object {
        Regarding::Service(service) => json!({
            "apiVersion": "v1",
            "kind": "Service",
            "namespace": &*service.namespace,
            "name": &*service.name,
        }),
        Regarding::Node(name) => json!({"apiVersion": "v1", "kind": "Node", "name": &**name}),
    }
}

/// `metav1.MicroTime`: RFC 3339 with exactly six digits of a second.
fn micro_time(at: SystemTime) -> String {
    let time = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.6}")
}

fn cut(note: &str) -> &str {
    let end = (0..=NOTE_MAX.min(note.len())).rev().find(|end| note.is_char_boundary(*end));
    note.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proxier::model::ServiceName;

    use super::*;

    fn at() -> SystemTime {
        UNIX_EPOCH + Duration::new(1_700_000_000, 120_000_999)
    }

    fn warning(note: &str) -> Event {
        Event {
            kind: Kind::Warning,
            reason: "FailedToStartServiceHealthcheck",
            action: "Listen",
            regarding: Regarding::Service(ServiceName::new("shop", "web")),
            note: note.to_owned(),
        }
    }

    #[test]
    fn a_service_is_told_about_in_its_namespace() {
        let event = warning("it is so");
        let id = Id::new(&event.regarding, at());
        let wanted = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": "shop", "name": "web.17979cfe3d5111e7"},
            "eventTime": "2023-11-14T22:13:20.120000Z",
            "reportingController": "kube-proxy",
            "reportingInstance": "kube-proxy-host-a",
            "type": "Warning",
            "reason": "FailedToStartServiceHealthcheck",
            "action": "Listen",
            "regarding":
                {"apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "web"},
            "note": "it is so",
        });
        assert_eq!(object(&id, &event, at(), "host-a"), wanted);
    }

    #[test]
    fn a_node_is_told_about_in_the_default_namespace_without_its_uid() {
        let event =
            Event { kind: Kind::Normal, regarding: Regarding::Node("node1".into()), ..warning("") };
        let id = Id::new(&event.regarding, at());
        assert_eq!(id.namespace, "default");
        let object = object(&id, &event, at(), "host-a");
        assert_eq!(
            object["regarding"],
            json!({"apiVersion": "v1", "kind": "Node", "name": "node1"})
        );
        assert_eq!(object["type"], "Normal");
        assert_eq!(object.get("note"), None);
    }

    #[test]
    fn whole_seconds_have_six_digits_too() {
        assert_eq!(
            series(2, UNIX_EPOCH),
            json!({"series": {"count": 2, "lastObservedTime": "1970-01-01T00:00:00.000000Z"}})
        );
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"é".repeat(600)).len(), 1024);
        assert_eq!(cut(&format!("x{}", "é".repeat(600))).len(), 1023);
    }
}
