//! Tests of the exact form of log lines.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn written(format: LogFormat, log: impl FnOnce()) -> Vec<String> {
    let written = Written::default();
    let writer = written.clone();
    let lines = fmt::layer().event_format(Lines::new(format)).with_writer(move || writer.clone());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(str::to_owned).collect()
}

/// Logs one event of each kind. Returns the line of the first one.
fn log() -> u32 {
    let first = line!() + 1;
    tracing::info!(changed = 3_u64, took_ms = %"0.250", is_it = true, name = "a \"b\"", "synced");
    tracing::warn!("Service shop/web: spec: \"x\\y\" is\nnothing\u{1}");
    tracing::error!(held_back = -1_i64, path = %"/a b", "it {}", "failed");
    tracing::debug!(list = ?[1, 2], "add set");
    tracing::trace!("tick");
    first
}

#[test]
fn text_is_klogs() {
    let mut first = 0;
    let lines = written(LogFormat::Text, || first = log());
    let rests = [
        ('I', r#""synced" changed=3 took_ms=0.250 is_it=true name="a \"b\"""#),
        ('W', r#""Service shop/web: spec: \"x\\y\" is\nnothing\u0001""#),
        ('E', r#""it failed" held_back=-1 path="/a b""#),
        ('I', r#""add set" list="[1, 2]""#),
        ('I', r#""tick""#),
    ];
    assert_eq!(lines.len(), rests.len());
    for ((line, (severity, rest)), number) in lines.iter().zip(rests).zip(first..) {
        let (header, found) = line.split_once("] ").unwrap();
        assert_eq!(found, rest);
        // I1125 21:30:05.123456    1234 tests.rs:12
        assert_eq!(header.chars().next(), Some(severity), "{line}");
        let digits: String =
            header[1..21].chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
        assert_eq!(digits, "9999 99:99:99.999999", "{line}");
        assert_eq!(header[21..], format!(" {:7} tests.rs:{number}", std::process::id()));
    }
}

#[test]
fn json_is_that_of_kubernetes_components() {
    let mut first = 0;
    let before = Zoned::now().timestamp().as_millisecond();
    let lines = written(LogFormat::Json, || first = log());
    let after = Zoned::now().timestamp().as_millisecond();
    let wanted = [
        json!({"msg": "synced", "v": 0, "changed": 3, "took_ms": 0.250, "is_it": true, "name": "a \"b\""}),
        json!({"msg": "Service shop/web: spec: \"x\\y\" is\nnothing\u{1}", "v": 0}),
        json!({"msg": "it failed", "held_back": -1, "path": "/a b"}),
        json!({"msg": "add set", "v": 4, "list": "[1, 2]"}),
        json!({"msg": "tick", "v": 6}),
    ];
    assert_eq!(lines.len(), wanted.len());
    for ((line, mut wanted), number) in lines.iter().zip(wanted).zip(first..) {
        let keys = ["{\"ts\":", ",\"caller\":\"lines/tests.rs:", "\",\"msg\":\""];
        let places: Vec<_> = keys.iter().map(|key| line.find(key)).collect();
        assert!(places[0] == Some(0) && places.is_sorted() && !places.contains(&None), "{line}");
        let found: Value = serde_json::from_str(line).unwrap();
        let ts = found["ts"].as_f64().unwrap();
        assert!((before as f64..(after + 1) as f64).contains(&ts), "{ts} {before} {after}");
        wanted["ts"] = found["ts"].clone();
        wanted["caller"] = format!("lines/tests.rs:{number}").into();
        assert_eq!(found, wanted);
    }
}
