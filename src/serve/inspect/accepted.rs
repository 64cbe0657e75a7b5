//! Chooses the form of a page and writes it.
//!
//! Takes the `Accept` headers. Returns text, or an object of `config.k8s.io` in JSON or YAML. Refuses a bare
//! `application/json`, which does not say which object it asks for.
//!
//! Source: spec 10.3.

use http::StatusCode;
use http::header::{HeaderValue, WARNING};
use serde_json::{Value, json};

use crate::serve::listener::Answer;
use crate::serve::plain::{self, Sniffing};

/// The form of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Text for operators.
    Text,
    /// An object for programs, in a version of `config.k8s.io`.
    Object(Notation, Version),
}

/// The notation of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notation {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// A version of `config.k8s.io`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// The deprecated version.
    V1Alpha1,
    /// The current version.
    V1Beta1,
}

/// Returns the preferred form of a page of this kind; `None` if no form is accepted. As in `goautoneg`, which
/// kube-proxy uses, a form with `q=0` comes last but is not excluded.
pub(super) fn form(accepts: Option<&str>, kind: &str) -> Option<Form> {
    let accepts = accepts.map(str::trim).filter(|accepts| !accepts.is_empty());
    let Some(accepts) = accepts else { return Some(Form::Text) };
    let mut ranges: Vec<Range<'_>> = accepts.split(',').map(Range::new).collect();
    ranges.sort_by(|one, other| {
        let by_liking = other.liking().total_cmp(&one.liking());
        by_liking.then(one.wildcards().cmp(&other.wildcards()))
    });
    ranges.iter().find_map(|range| range.form(kind))
}

/// One media range of an `Accept` header.
struct Range<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Range<'a> {
    fn new(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let media = if media == "*" { "*/*" } else { media };
        let parameters = parts.filter_map(|part| part.split_once('='));
        let parameters = parameters.map(|(name, value)| (name.trim(), value.trim()));
        Self { media, parameters: parameters.collect() }
    }

    fn parameter(&self, wanted: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value)
    }

    fn liking(&self) -> f32 {
        self.parameter("q").map_or(1.0, |q| q.parse().unwrap_or(0.0))
    }

    fn wildcards(&self) -> usize {
        self.media.matches('*').count()
    }

    /// Returns the form that this range asks for, if any. Without the parameters of an object only text is available.
    fn form(&self, kind: &str) -> Option<Form> {
        let is_object = ["as", "g", "v"].iter().any(|name| self.parameter(name).is_some());
        let notation = match self.media {
            "text/plain" | "text/*" | "*/*" if !is_object => return Some(Form::Text),
            "application/json" | "application/*" | "*/*" => Notation::Json,
            "application/yaml" => Notation::Yaml,
            _ => return None,
        };
        let version = match self.parameter("v")? {
            "v1alpha1" => Version::V1Alpha1,
            "v1beta1" => Version::V1Beta1,
            _ => return None,
        };
        let is_ours = self.parameter("g") == Some("config.k8s.io");
        (is_ours && self.parameter("as") == Some(kind)).then_some(Form::Object(notation, version))
    }
}

/// Returns an object of this kind, named after kube-proxy, with further fields.
pub(super) fn object(kind: &str, notation: Notation, version: Version, fields: Value) -> Answer {
    let name = match version {
        Version::V1Alpha1 => "v1alpha1",
        Version::V1Beta1 => "v1beta1",
    };
    let mut object = json!({
        "kind": kind,
        "apiVersion": format!("config.k8s.io/{name}"),
        "metadata": {"name": "kube-proxy"},
    });
    if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
    let (media, body) = match notation {
        Notation::Json => ("application/json", object.to_string()),
        Notation::Yaml => {
            ("application/yaml", serde_saphyr::to_string(&object).unwrap_or_default())
        }
    };
    let mut response = plain::answer(StatusCode::OK, media, Sniffing::Unmentioned, body);
    if version == Version::V1Alpha1 {
        let warning = format!("299 - \"config.k8s.io/v1alpha1 {kind} is deprecated; use v1beta1\"");
        if let Ok(warning) = HeaderValue::from_str(&warning) {
            response.headers_mut().insert(WARNING, warning);
        }
    }
    response
}

/// Returns a page of text below kube-proxy's heading.
pub(super) fn page(name: &str, text: &str) -> Answer {
    let body = format!(
        "\nkube-proxy {name}\nWarning: This endpoint is not meant to be machine parseable, has no \
         formatting compatibility guarantees and is for debugging purposes only.\n{text}"
    );
    plain::answer(StatusCode::OK, "text/plain; charset=utf-8", Sniffing::Unmentioned, body)
}

/// Returns the answer to a client that accepts no available form.
pub(super) fn refused(kind: &str) -> Answer {
    let text = format!(
        "only text/plain, and application/json and application/yaml with the parameters \
         g=config.k8s.io;v=v1beta1;as={kind}, can be had here\n"
    );
    plain::text(StatusCode::NOT_ACCEPTABLE, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_that_is_liked_best_counts() {
        let object = |notation| Some(Form::Object(notation, Version::V1Beta1));
        for (accepts, wanted) in [
            ("", Some(Form::Text)),
            ("*/*", Some(Form::Text)),
            ("text/html, text/plain;q=0.5", Some(Form::Text)),
            ("application/json", None),
            ("application/json;v=v1beta1;g=config.k8s.io;as=Flagz", None),
            ("application/json;v=v1beta1;g=config.k8s.io;as=Statusz", object(Notation::Json)),
            ("application/yaml; as=Statusz; g=config.k8s.io; v=v1beta1", object(Notation::Yaml)),
            ("application/json;v=v2;g=config.k8s.io;as=Statusz", None),
            (
                "text/plain;q=0.1,application/yaml;q=0.9;v=v1beta1;g=config.k8s.io;as=Statusz",
                object(Notation::Yaml),
            ),
            ("*/*, application/yaml;v=v1beta1;g=config.k8s.io;as=Statusz", object(Notation::Yaml)),
            (
                "application/json;v=v1beta1;g=config.k8s.io;as=Statusz;q=0.2, text/plain;q=0.3",
                Some(Form::Text),
            ),
            ("application/*;v=v1beta1;g=config.k8s.io;as=Statusz", object(Notation::Json)),
            ("text/plain;v=v1beta1;g=config.k8s.io;as=Statusz", None),
            ("application/json, *;q=0.1", Some(Form::Text)),
        ] {
            assert_eq!(form(Some(accepts), "Statusz"), wanted, "{accepts}");
        }
        assert_eq!(form(None, "Statusz"), Some(Form::Text));
    }
}
