//! Keeps the Events that the test API server was sent.
//!
//! Takes requests of the collection `events.k8s.io/v1`. Returns the Events, or a real server's
//! answer to an invalid request (`pkg/apis/core/validation/events.go`). Does not keep other kinds.

use hyper::Method;
use serde_json::Value;

/// All Events, in the order of their creation.
#[derive(Default)]
pub struct Events(Vec<Value>);

type Refusal = (u16, String);

impl Events {
    /// Returns all Events.
    pub fn all(&self) -> &[Value] {
        &self.0
    }

    /// Forgets all Events.
    pub fn expire(&mut self) {
        self.0.clear();
    }

    /// Writes an Event. Returns the status and the object of the answer.
    pub fn write(
        &mut self,
        method: &Method,
        path: &str,
        kind: &str,
        body: &[u8],
    ) -> Result<(u16, Value), Refusal> {
        let not_found = || (404, "the server could not find the requested resource".to_owned());
        let rest = path.strip_prefix("/apis/events.k8s.io/v1/namespaces/").ok_or_else(not_found)?;
        let body: Value = serde_json::from_slice(body).map_err(|e| (400, e.to_string()))?;
        match (method, &rest.split('/').collect::<Vec<_>>()[..]) {
            (&Method::POST, [namespace, "events"]) if kind == "application/json" => {
                self.create(namespace, body)
            }
            (&Method::PATCH, [namespace, "events", name])
                if kind == "application/merge-patch+json" =>
            {
                self.patch(namespace, name, &body)
            }
            _ => Err((415, format!("{method} {path} of {kind}"))),
        }
    }

    fn create(&mut self, namespace: &str, event: Value) -> Result<(u16, Value), Refusal> {
        check(namespace, &event).map_err(|field| (422, format!("Event is invalid: {field}")))?;
        if self.find(namespace, &event["metadata"]["name"]).is_some() {
            return Err((409, "already exists".to_owned()));
        }
        self.0.push(event.clone());
        Ok((201, event))
    }

    /// Patches an Event. Only its series may change.
    fn patch(
        &mut self,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<(u16, Value), Refusal> {
        let count = patch["series"]["count"].as_u64().unwrap_or(0);
        if count < 2 || !is_micro_time(&patch["series"]["lastObservedTime"]) {
            return Err((422, format!("Event is invalid: series: {patch}")));
        }
        let Some(event) = self.find(namespace, &Value::from(name)) else {
            return Err((404, format!("events.events.k8s.io {name:?} not found")));
        };
        event["series"] = patch["series"].clone();
        Ok((200, event.clone()))
    }

    fn find(&mut self, namespace: &str, name: &Value) -> Option<&mut Value> {
        self.0.iter_mut().find(|event| {
            event["metadata"]["namespace"] == namespace && event["metadata"]["name"] == *name
        })
    }
}

/// Checks an Event. The error is the invalid field.
fn check(namespace: &str, event: &Value) -> Result<(), &'static str> {
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    let fits = |field: &str, most| !text(field).is_empty() && text(field).len() <= most;
    let regards = event["regarding"]["namespace"].as_str().unwrap_or("default");
    for (is_right, field) in [
        (event["apiVersion"] == "events.k8s.io/v1" && event["kind"] == "Event", "kind"),
        (event["metadata"]["namespace"] == namespace, "metadata.namespace"),
        (event["metadata"]["name"].as_str().is_some_and(|name| !name.is_empty()), "metadata.name"),
        (regards == namespace, "involvedObject.namespace"),
        (is_micro_time(&event["eventTime"]), "eventTime"),
        (fits("reportingController", 253), "reportingController"),
        (fits("reportingInstance", 128), "reportingInstance"),
        (fits("action", 128), "action"),
        (fits("reason", 128), "reason"),
        (["Normal", "Warning"].contains(&text("type")), "type"),
        (text("note").len() <= 1024, "note"),
        (event["series"].is_null(), "series"),
    ] {
        if !is_right {
            return Err(field);
        }
    }
    Ok(())
}

/// True for a time of the form `2006-01-02T15:04:05.000000Z`.
fn is_micro_time(value: &Value) -> bool {
    let shape: String =
        value.as_str().unwrap_or_default().replace(|c: char| c.is_ascii_digit(), "0");
    shape == "0000-00-00T00:00:00.000000Z"
}
