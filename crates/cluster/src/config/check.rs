//! Compares a document with the schema, and keeps what fits.

use std::collections::HashMap;

use ipnet::Ipv4Net;
use regex::Regex;
use serde_json::{Map as JsonMap, Number, Value as Json};

use super::{
    schema::{Key, Kind, Rule},
    tree::{Entry, Node, Value},
};
use crate::finding::Finding;

const VALIDATOR: &str = "ConfigSchemaValidator";

/// A document that was compared with the schema.
pub(crate) struct Checked {
    /// What fits, as JSON; what does not is left out, so that the rest can be validated too.
    pub json: Json,
    pub findings: Vec<Finding>,
    /// Where each value is.
    pub lines: HashMap<String, usize>,
}

/// Compares `root` with `keys`.
pub(crate) fn check(root: &Node, keys: &[Key]) -> Checked {
    let mut checker = Checker { findings: Vec::new(), lines: HashMap::new() };
    let json = checker.map(root, keys, "").unwrap_or(Json::Null);
    Checked { json, findings: checker.findings, lines: checker.lines }
}

struct Checker {
    findings: Vec<Finding>,
    lines: HashMap<String, usize>,
}

impl Checker {
    fn complain(&mut self, path: &str, line: usize, message: String) {
        let finding = Finding::error(VALIDATOR, path, message);
        self.findings.push(Finding { line: Some(line), ..finding });
    }

    fn value(&mut self, node: &Node, kind: &Kind, path: &str) -> Option<Json> {
        self.lines.entry(path.to_owned()).or_insert(node.line);
        if node.is_null() {
            self.complain(
                path,
                node.line,
                "it has no value: give one, or leave out the key".into(),
            );
            return None;
        }
        match kind {
            Kind::Map(keys) => self.map(node, keys, path),
            Kind::List(item, least, most) => self.list(node, item, (*least, *most), path),
            Kind::Settings => self.settings(node, path),
            Kind::Actions => self.actions(node, path),
            Kind::Text(_) | Kind::Int(..) | Kind::Float | Kind::Bool | Kind::BoolOrText => {
                match scalar(node, kind) {
                    Ok(json) => Some(json),
                    Err(message) => {
                        self.complain(path, node.line, message);
                        None
                    }
                }
            }
        }
    }

    fn map(&mut self, node: &Node, keys: &[Key], path: &str) -> Option<Json> {
        let Value::Map(entries) = &node.value else {
            let some: Vec<_> = keys.iter().take(3).map(|key| key.name).collect();
            let message = format!("it has to hold keys such as {}", some.join(", "));
            self.complain(path, node.line, message);
            return None;
        };
        let mut json = JsonMap::new();
        for entry in entries {
            let inner = join(path, &entry.key);
            let Some(key) = keys.iter().find(|key| key.name == entry.key) else {
                self.unknown(entry, keys, path);
                continue;
            };
            self.lines.insert(inner.clone(), entry.line);
            if let Some(value) = self.value(&entry.node, &key.kind, &inner) {
                json.insert(entry.key.clone(), value);
            }
        }
        let is_near = |name: &str| {
            entries.iter().any(|entry| {
                keys.iter().all(|key| key.name != entry.key)
                    && nearest(&entry.key, keys.iter().map(|key| key.name)) == Some(name)
            })
        };
        for key in keys.iter().filter(|key| key.is_required) {
            // A misspelt key was reported under the name it has.
            if entries.iter().all(|entry| entry.key != key.name) && !is_near(key.name) {
                let message = format!("the key {} is missing", key.name);
                self.complain(path, node.line, message);
            }
        }
        Some(Json::Object(json))
    }

    fn unknown(&mut self, entry: &Entry, keys: &[Key], path: &str) {
        let message = match nearest(&entry.key, keys.iter().map(|key| key.name)) {
            Some(near) => format!("unknown key {}: did you mean {near}?", entry.key),
            None => {
                let known: Vec<_> = keys.iter().map(|key| key.name).collect();
                format!("unknown key {}: here may be {}", entry.key, known.join(", "))
            }
        };
        self.complain(&join(path, &entry.key), entry.line, message);
    }

    fn list(
        &mut self,
        node: &Node,
        item: &Kind,
        (least, most): (usize, usize),
        path: &str,
    ) -> Option<Json> {
        let Value::List(nodes) = &node.value else {
            let message = "it has to be a list: begin each item with a dash".to_owned();
            self.complain(path, node.line, message);
            return None;
        };
        if nodes.len() < least || nodes.len() > most {
            let message = match nodes.len() < least {
                true => format!("it has {} items; at least {least} are needed", nodes.len()),
                false => format!("it has {} items; at most {most} are possible", nodes.len()),
            };
            self.complain(path, node.line, message);
        }
        // An item that does not fit keeps its place, so that the others keep their paths.
        let hole = match item {
            Kind::Map(_) => Json::Object(JsonMap::new()),
            _ => Json::String(String::new()),
        };
        let items = nodes.iter().enumerate().map(|(number, node)| {
            let inner = format!("{path}[{number}]");
            self.value(node, item, &inner).unwrap_or_else(|| hole.clone())
        });
        Some(Json::Array(items.collect()))
    }

    fn settings(&mut self, node: &Node, path: &str) -> Option<Json> {
        self.lines.entry(path.to_owned()).or_insert(node.line);
        match &node.value {
            Value::Map(entries) => {
                let settings = entries.iter().filter_map(|entry| {
                    let inner = join(path, &entry.key);
                    self.lines.insert(inner.clone(), entry.line);
                    Some((entry.key.clone(), self.settings(&entry.node, &inner)?))
                });
                Some(Json::Object(settings.collect()))
            }
            Value::List(nodes) => {
                let items = nodes.iter().enumerate();
                let items =
                    items.filter_map(|(at, node)| self.settings(node, &format!("{path}[{at}]")));
                Some(Json::Array(items.collect()))
            }
            Value::Scalar { text, .. } if path.ends_with("Settings") => {
                let message = format!("`{text}` is no setting: write it as `Name: value`");
                self.complain(path, node.line, message);
                None
            }
            Value::Scalar { text, .. } => Some(Json::String(text.clone())),
        }
    }

    /// One script or a sequence of them; kept as a list in either case.
    fn actions(&mut self, node: &Node, path: &str) -> Option<Json> {
        const TEXT: Kind = Kind::Text(Rule::Any);
        const SCRIPT: &[Key] = &[
            Key {
                name: "Script",
                kind: TEXT,
                policy: super::schema::Policy::Supported,
                is_required: true,
            },
            Key {
                name: "Args",
                kind: Kind::List(&TEXT, 0, 1000),
                policy: super::schema::Policy::Supported,
                is_required: false,
            },
        ];
        const SEQUENCE: &[Key] = &[Key {
            name: "Sequence",
            kind: Kind::List(&Kind::Map(SCRIPT), 1, 10),
            policy: super::schema::Policy::Supported,
            is_required: true,
        }];
        let is_sequence = matches!(&node.value, Value::Map(entries)
            if entries.iter().any(|entry| entry.key == "Sequence"));
        if is_sequence {
            let mut json = self.map(node, SEQUENCE, path)?;
            Some(json.get_mut("Sequence")?.take())
        } else {
            Some(Json::Array(vec![self.map(node, SCRIPT, path)?]))
        }
    }
}

fn scalar(node: &Node, kind: &Kind) -> Result<Json, String> {
    let Value::Scalar { text, .. } = &node.value else {
        return Err("it has to be a single value".to_owned());
    };
    match kind {
        Kind::Bool => {
            truth(text).map(Json::Bool).ok_or_else(|| format!("`{text}` is neither true nor false"))
        }
        Kind::BoolOrText => Ok(truth(text).map_or_else(|| Json::String(text.clone()), Json::Bool)),
        Kind::Int(least, most) => {
            let number: i64 =
                text.parse().map_err(|_| format!("`{text}` is not a whole number"))?;
            if number < *least || number > *most {
                return Err(match *most {
                    i64::MAX => format!("{number} is too small: at least {least}"),
                    most => format!("{number} is not between {least} and {most}"),
                });
            }
            Ok(Json::Number(number.into()))
        }
        Kind::Float => {
            let number = text.parse().ok().and_then(Number::from_f64);
            number.map(Json::Number).ok_or_else(|| format!("`{text}` is not a number"))
        }
        Kind::Text(rule) => text_of(text, rule).map(Json::String),
        Kind::Map(_) | Kind::List(..) | Kind::Settings | Kind::Actions => {
            unreachable!("these are no scalars")
        }
    }
}

/// YAML 1.1's words, which ParallelCluster's reader takes.
fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn text_of(text: &str, rule: &Rule) -> Result<String, String> {
    match rule {
        Rule::Any => {}
        Rule::AtMost(most) if text.chars().count() > *most => {
            return Err(format!("it is longer than {most} characters"));
        }
        Rule::AtMost(_) => {}
        Rule::OneOf(words) if !words.contains(&text) => {
            let near = nearest(text, words.iter().copied());
            let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            return Err(format!("`{text}` is not one of {}{hint}", words.join(", ")));
        }
        Rule::OneOf(_) => {}
        Rule::Pattern(pattern, wanted) => {
            let pattern = Regex::new(pattern).expect("the schema's expressions are tested");
            if !pattern.is_match(text) {
                return Err(format!("`{text}` is not {wanted}"));
            }
        }
        Rule::Cidr => {
            let is_list = text.strip_prefix("pl-").is_some_and(|id| !id.is_empty());
            if !is_list && text.parse::<Ipv4Net>().is_err() {
                return Err(format!("`{text}` is no network such as 192.0.2.0/24, nor pl-…"));
            }
        }
    }
    Ok(text.to_owned())
}

/// The known word that `word` most likely was to be.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    known
        .map(|known| (strsim::jaro_winkler(&lower, &known.to_lowercase()), known))
        .filter(|(likeness, _)| *likeness >= 0.85)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
