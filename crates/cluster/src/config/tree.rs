//! A YAML document as it was written: every value with its line, scalars not yet interpreted.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};
use thiserror::Error;

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Counted from 1.
    pub line: usize,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// What a scalar means is for the schema to say: `1.10` may be a name.
    Scalar {
        text: String,
        is_quoted: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub key: String,
    pub line: usize,
    pub node: Node,
}

/// Why a text is no document.
#[derive(Debug, Error)]
pub enum TreeError {
    /// Not YAML.
    #[error("line {line}, column {column}: {why}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What the parser says.
        why: String,
    },
    /// Nothing is in it.
    #[error("the file has no content")]
    Empty,
    /// The same key twice in one mapping, of which YAML would drop one.
    #[error("line {line}: {key} was given before, in line {before}")]
    Twice {
        /// The key.
        key: String,
        /// Where it comes again.
        line: usize,
        /// Where it came first.
        before: usize,
    },
    /// A mapping or list as the key of another.
    #[error("line {line}: a key has to be a word")]
    Key {
        /// Counted from 1.
        line: usize,
    },
    /// Aliases that repeat aliases, or depth without end.
    #[error("line {line}: more than {MAX_NODES} values, or nested deeper than {MAX_DEPTH}")]
    TooLarge {
        /// Counted from 1.
        line: usize,
    },
}

/// Far above any cluster; a few lines of aliases could otherwise stand for billions of values.
const MAX_NODES: usize = 100_000;
const MAX_DEPTH: usize = 64;

impl From<ScanError> for TreeError {
    fn from(error: ScanError) -> Self {
        let marker = error.marker();
        let (line, column) = (marker.line(), marker.col() + 1);
        Self::Syntax { line, column, why: error.info().to_owned() }
    }
}

/// Reads the first document of `text`.
pub(crate) fn read(text: &str) -> Result<Node, TreeError> {
    let mut reader =
        Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0, depth: 0 };
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(_), _) => {}
            (Event::StreamEnd | Event::DocumentEnd, _) => return Err(TreeError::Empty),
            (event, line) => return reader.node(event, line),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, usize), TreeError> {
        let next = self.parser.next().ok_or(TreeError::Empty)?;
        let (event, span) = next?;
        Ok((event, span.start.line()))
    }

    fn node(&mut self, event: Event<'a>, line: usize) -> Result<Node, TreeError> {
        self.nodes += 1;
        self.depth += 1;
        if self.nodes > MAX_NODES || self.depth > MAX_DEPTH {
            return Err(TreeError::TooLarge { line });
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let is_quoted = style != ScalarStyle::Plain;
                (Value::Scalar { text: text.into_owned(), is_quoted }, anchor)
            }
            Event::SequenceStart(anchor, _) => (self.list()?, anchor),
            Event::MappingStart(anchor, _) => (self.map()?, anchor),
            Event::Alias(anchor) => (self.repeated(anchor, line)?, 0),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return Err(TreeError::Empty),
        };
        self.depth -= 1;
        let node = Node { line, value };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self) -> Result<Value, TreeError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, line) => items.push(self.node(event, line)?),
            }
        }
    }

    fn map(&mut self) -> Result<Value, TreeError> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, line) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Map(entries));
            }
            let Value::Scalar { text: key, .. } = self.node(event, line)?.value else {
                return Err(TreeError::Key { line });
            };
            let (event, value_line) = self.next()?;
            let node = self.node(event, value_line)?;
            if let Some(before) = entries.iter().find(|entry| entry.key == key) {
                return Err(TreeError::Twice { key, line, before: before.line });
            }
            entries.push(Entry { key, line, node });
        }
    }

    fn repeated(&mut self, anchor: usize, line: usize) -> Result<Value, TreeError> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(TreeError::Key { line });
        };
        self.nodes += node.size();
        if self.nodes > MAX_NODES {
            return Err(TreeError::TooLarge { line });
        }
        Ok(node.value.clone())
    }
}

impl Node {
    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Self::size).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.node.size()).sum(),
        }
    }

    /// Whether nothing was written, or YAML's words for it.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, is_quoted: false }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_lines() {
        let node = read("A: 1\nB:\n  - x\n  - C: '2'\n").unwrap();
        let Value::Map(entries) = &node.value else { panic!("{node:?}") };
        assert_eq!(entries[1].line, 2);
        let Value::List(items) = &entries[1].node.value else { panic!("{node:?}") };
        assert_eq!((items[0].line, items[1].line), (3, 4));
    }

    #[test]
    fn what_yaml_would_drop_or_blow_up_is_refused() {
        assert!(matches!(
            read("A: 1\nB: 2\nA: 3\n"),
            Err(TreeError::Twice { line: 3, before: 1, .. })
        ));
        assert!(matches!(read("A: [1\nB: 2"), Err(TreeError::Syntax { .. })));
        assert!(matches!(read(""), Err(TreeError::Empty)));
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..9 {
            let times = vec![format!("*a{}", level - 1); 10].join(",");
            bomb += &format!("a{level}: &a{level} [{times}]\n");
        }
        assert!(matches!(read(&bomb), Err(TreeError::TooLarge { .. })));
        assert!(read(&"[".repeat(10_000)).is_err());
    }
}
