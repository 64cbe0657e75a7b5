//! Decodes the values of settings from the tree of a document, and writes them as JSON.
//!
//! Takes a tree with places. Sets the values that have the right type, and collects every other one, every unknown field
//! and every field that occurs twice. Reads as Go does: null leaves the default, and text in quotes is no number and no
//! boolean.

use std::collections::BTreeMap;

use serde_json::{Number, Value as Json, json};

use super::document::{Beside, Mark, Setting};
use super::duration::GoDuration;
use super::flags::Flags;
use crate::yaml::{Error, Node, Value as Tree, below};

/// Collects what is wrong with a document of one kind.
#[derive(Debug)]
pub(super) struct Reader {
    kind: &'static str,
    /// Values of a wrong type.
    pub(super) mistakes: Vec<Error>,
    /// Fields that are ignored.
    pub(super) warnings: Vec<String>,
}

impl Reader {
    pub(super) fn new(kind: &'static str) -> Self {
        Self { kind, mistakes: Vec::new(), warnings: Vec::new() }
    }

    fn refuse(&mut self, node: &Node, path: &str, reason: &str) {
        self.mistakes.push(node.error(&format!("{}.{path}", self.kind), reason));
    }
}

/// The value of a setting, or of several settings below one name.
pub(super) trait Value {
    /// Takes the value of a node that is not null. If the node has a wrong type, the value stays.
    fn read(&mut self, node: &Node, path: &str, reader: &mut Reader);

    /// Returns the value as kube-proxy writes it.
    fn json(&self) -> Json;

    /// Returns the settings below this name; `None` for a single value.
    fn part(&self) -> Option<&dyn Part> {
        None
    }

    /// Returns the same settings to be changed.
    fn part_mut(&mut self) -> Option<&mut dyn Part> {
        None
    }
}

/// Settings of one document, or of a mapping in it.
pub(super) trait Part {
    /// Returns the settings in kube-proxy's order.
    fn settings(&self) -> Vec<(&'static Setting, &dyn Value)>;

    /// Returns the same settings to be changed.
    fn settings_mut(&mut self) -> Vec<(&'static Setting, &mut dyn Value)>;

    /// Sets the values that are zero, and for which zero means the default, to their defaults.
    fn replace_zeros(&mut self);

    /// Takes the values of the flags that count.
    fn lay_over(&mut self, flags: &Flags, beside: Beside);
}

impl<T: Part> Value for T {
    fn read(&mut self, node: &Node, path: &str, reader: &mut Reader) {
        let Tree::Map(entries) = &node.value else {
            return reader.refuse(node, path.trim_end_matches('.'), "a mapping is expected");
        };
        let mut settings = self.settings_mut();
        for (key, node) in entries {
            let path = below(path, key);
            match settings.iter_mut().find(|(setting, _)| setting.name == key) {
                Some(_) if node.value == Tree::Null => {}
                Some((_, value)) => value.read(node, &path, reader),
                None => {
                    let unknown = node.error(&path, "unknown field, ignored");
                    reader.warnings.push(unknown.to_string());
                }
            }
        }
        self.replace_zeros();
    }

    fn json(&self) -> Json {
        let settings = self.settings().into_iter();
        let fields = settings.map(|(setting, value)| (setting, value.json()));
        let is_nothing = |value: &Json| match value {
            Json::Bool(on) => !on,
            Json::Array(elements) => elements.is_empty(),
            Json::Object(fields) => fields.is_empty(),
            _ => false,
        };
        let fields =
            fields.filter(|(setting, value)| !(setting.is(Mark::Omit) && is_nothing(value)));
        Json::Object(fields.map(|(setting, value)| (setting.name.to_owned(), value)).collect())
    }

    fn part(&self) -> Option<&dyn Part> {
        Some(self)
    }

    fn part_mut(&mut self) -> Option<&mut dyn Part> {
        Some(self)
    }
}

/// Returns the text of a scalar.
fn scalar<'n>(node: &'n Node, path: &str, reader: &mut Reader) -> Option<&'n str> {
    match &node.value {
        Tree::Text(text) | Tree::Bool(_, text) | Tree::Whole(_, text) | Tree::Float(_, text) => {
            Some(text)
        }
        Tree::Null => Some(""),
        Tree::List(_) | Tree::Map(_) => {
            reader.refuse(node, path, "a single value is expected");
            None
        }
    }
}

impl Value for String {
    fn read(&mut self, node: &Node, path: &str, reader: &mut Reader) {
        if let Some(text) = scalar(node, path, reader) {
            text.clone_into(self);
        }
    }

    fn json(&self) -> Json {
        self.as_str().into()
    }
}

impl Value for bool {
    fn read(&mut self, node: &Node, path: &str, reader: &mut Reader) {
        const WORDS: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "y", "n"];
        match &node.value {
            Tree::Bool(on, _) => *self = *on,
            Tree::Text(text) if WORDS.contains(&text.to_lowercase().as_str()) => {
                reader.refuse(node, path, "text in quotes where a boolean is expected");
            }
            _ if scalar(node, path, reader).is_some() => {
                reader.refuse(node, path, "must be true or false");
            }
            _ => {}
        }
    }

    fn json(&self) -> Json {
        (*self).into()
    }
}

/// Returns the number of a node, or refuses the node with this reason.
fn number(node: &Node, path: &str, reason: &str, reader: &mut Reader) -> Option<f64> {
    match &node.value {
        // Every number that a setting takes is exact in a float.
        Tree::Whole(number, _) => return Some(*number as f64),
        Tree::Float(number, _) => return Some(*number),
        Tree::Text(text) if text.parse::<f64>().is_ok() => {
            reader.refuse(node, path, "text in quotes where a number is expected");
        }
        _ if scalar(node, path, reader).is_some() => reader.refuse(node, path, reason),
        _ => {}
    }
    None
}

/// Reads a whole number. Go's decoder turns YAML into JSON before it reads fields, so `1e3` and `1000.0` are whole.
macro_rules! whole_number {
    ($($type:ty)*) => { $(
        impl Value for $type {
            fn read(&mut self, node: &Node, path: &str, reader: &mut Reader) {
                let (least, most) = (Self::MIN, Self::MAX);
                let reason = format!("must be a whole number from {least} to {most}");
                let Some(number) = number(node, path, &reason, reader) else { return };
                match (number.fract() == 0.0).then(|| Self::try_from(number as i64)) {
                    Some(Ok(number)) => *self = number,
                    Some(Err(_)) | None => reader.refuse(node, path, &reason),
                }
            }

            fn json(&self) -> Json {
                (*self).into()
            }
        }
    )* };
}

whole_number!(i32 u32);

impl Value for f32 {
    fn read(&mut self, node: &Node, path: &str, reader: &mut Reader) {
        if let Some(number) = number(node, path, "must be a number", reader) {
            *self = number as Self;
        }
    }

    /// Writes a whole number without a fraction, and others with as few digits as identify the `f32`.
    fn json(&self) -> Json {
        if self.fract() == 0.0 && self.abs() < 1e9 {
            return (*self as i64).into();
        }
        let shortest = self.to_string().parse().ok().and_then(Number::from_f64);
        shortest.map_or(Json::Null, Json::Number)
    }
}

impl Value for GoDuration {
    fn read(&mut self, node: &Node, path: &str, reader: &mut Reader) {
        // The only duration that may also be a number, of nanoseconds.
        if path == "logging.flushFrequency"
            && let Tree::Whole(nanos, _) = node.value
        {
            *self = Self::from_nanos(nanos);
            return;
        }
        let Some(text) = scalar(node, path, reader) else { return };
        match text.parse::<Self>() {
            Ok(duration) => *self = duration,
            Err(error) => reader.refuse(node, path, &error.to_string()),
        }
    }

    fn json(&self) -> Json {
        self.to_string().into()
    }
}

/// Reads the elements of a list. A null is an element that is zero. `None` if an element has a wrong type.
fn elements<T: Value + Default>(node: &Node, path: &str, reader: &mut Reader) -> Option<Vec<T>> {
    let Tree::List(nodes) = &node.value else {
        reader.refuse(node, path, "a list is expected");
        return None;
    };
    let mistakes = reader.mistakes.len();
    let element = |(at, node): (usize, &Node)| {
        let mut element = T::default();
        if node.value != Tree::Null {
            element.read(node, &format!("{path}[{at}]"), reader);
        }
        element
    };
    let elements = nodes.iter().enumerate().map(element).collect();
    (reader.mistakes.len() == mistakes).then_some(elements)
}

/// A list that is null as long as it is not set, as a slice of Go.
impl Value for Option<Vec<String>> {
    fn read(&mut self, node: &Node, path: &str, reader: &mut Reader) {
        if let Some(words) = elements(node, path, reader) {
            *self = Some(words);
        }
    }

    fn json(&self) -> Json {
        self.as_ref().filter(|words| !words.is_empty()).map_or(Json::Null, |words| json!(words))
    }
}

impl<T: Part + Default> Value for Vec<T> {
    fn read(&mut self, node: &Node, path: &str, reader: &mut Reader) {
        if let Some(parts) = elements(node, path, reader) {
            *self = parts;
        }
    }

    fn json(&self) -> Json {
        self.iter().map(Value::json).collect()
    }
}

impl Value for BTreeMap<String, bool> {
    /// Reads a map in which null means false: in a Go map null is the zero value.
    fn read(&mut self, node: &Node, path: &str, reader: &mut Reader) {
        let Tree::Map(entries) = &node.value else {
            return reader.refuse(node, path, "a mapping is expected");
        };
        for (key, node) in entries {
            let (mut on, mistakes) = (false, reader.mistakes.len());
            if node.value != Tree::Null {
                on.read(node, &below(path, key), reader);
            }
            if reader.mistakes.len() == mistakes {
                self.insert(key.clone(), on);
            }
        }
    }

    fn json(&self) -> Json {
        json!(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KubeProxyConfiguration;
    use crate::yaml;

    fn read(text: &str) -> (KubeProxyConfiguration, Reader) {
        let (tree, _) = Node::read(yaml::documents(text)[0]).unwrap();
        let (mut settings, mut reader) = (KubeProxyConfiguration::default(), Reader::new("Kind"));
        settings.read(&tree, "", &mut reader);
        (settings, reader)
    }

    #[test]
    fn mistakes_are_told_in_words_for_people_and_the_default_stays() {
        for (text, wanted) in [
            ("ipvs: 1", "line 1, column 7: Kind.ipvs: a mapping is expected"),
            ("nodePortAddresses: a", "Kind.nodePortAddresses: a list is expected"),
            (
                "nodePortAddresses: [a, [b]]",
                "Kind.nodePortAddresses[1]: a single value is expected",
            ),
            ("oomScoreAdj: [1]", "Kind.oomScoreAdj: a single value is expected"),
            (
                "oomScoreAdj: x",
                "Kind.oomScoreAdj: must be a whole number from -2147483648 to 2147483647",
            ),
            ("logging: {verbosity: -1}", "must be a whole number from 0 to 4294967295"),
            (
                "logging: {vmodule: [{verbosity: 1.5}]}",
                "Kind.logging.vmodule[0].verbosity: must be",
            ),
            ("clientConnection: {qps: x}", "Kind.clientConnection.qps: must be a number"),
            ("enableProfiling: 1", "Kind.enableProfiling: must be true or false"),
            ("enableProfiling: 'no'", "text in quotes where a boolean is expected"),
            ("ipvs: {syncPeriod: 7}", "\"7\" is not a duration such as 30s or 1h15m"),
        ] {
            let (settings, reader) = read(text);
            let [mistake] = &reader.mistakes[..] else { panic!("{text}: {reader:?}") };
            assert!(mistake.to_string().contains(wanted), "{text}: {mistake}");
            assert_eq!(settings, KubeProxyConfiguration::default(), "{text}");
        }
    }

    #[test]
    fn the_last_of_several_values_counts_as_a_whole() {
        let (settings, reader) =
            read("ipvs: {scheduler: x, udpTimeout: 1}\nipvs: {strictARP: true}\n");
        assert!(reader.mistakes.is_empty(), "{reader:?}");
        assert!(settings.ipvs.strict_arp && settings.ipvs.scheduler.is_empty());
    }

    #[test]
    fn text_keeps_the_spelling_of_numbers_and_booleans() {
        let (settings, _) =
            read("hostnameOverride: 0x10\nmode: n\nshowHiddenMetricsForVersion: 1.30\n");
        assert_eq!(settings.hostname_override, "0x10");
        assert_eq!(settings.mode, "n");
        assert_eq!(settings.show_hidden_metrics_for_version, "1.30");
    }
}
