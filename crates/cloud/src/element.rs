//! XML as EC2 uses it: elements with a name that hold text or elements; no attributes but a
//! namespace.

use std::borrow::Cow;

use quick_xml::escape::escape;

/// An element: a name, and text or children.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    name: Cow<'static, str>,
    text: String,
    children: Vec<Element>,
}

/// Why a text is not a document of elements.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotXml(String);

impl Element {
    /// An empty element.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// An element that holds a text.
    #[must_use]
    pub fn of(name: impl Into<Cow<'static, str>>, text: impl ToString) -> Self {
        Self { name: name.into(), text: text.to_string(), children: Vec::new() }
    }

    /// Adds a child.
    #[must_use]
    pub fn with(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    /// Adds a child that holds a text.
    #[must_use]
    pub fn field(self, name: impl Into<Cow<'static, str>>, text: impl ToString) -> Self {
        self.with(Self::of(name, text))
    }

    /// Adds a child that holds a text, if there is one.
    #[must_use]
    pub fn field_if(self, name: &'static str, text: Option<impl ToString>) -> Self {
        match text {
            Some(text) => self.field(name, text),
            None => self,
        }
    }

    /// Adds a list: a child with the items, which are called `item`.
    #[must_use]
    pub fn list(self, name: &'static str, items: impl IntoIterator<Item = Self>) -> Self {
        let items = items.into_iter().map(|item| Self { name: "item".into(), ..item });
        self.with(Self { name: name.into(), text: String::new(), children: items.collect() })
    }

    /// Adds the children of another element.
    #[must_use]
    pub fn extended(mut self, other: Self) -> Self {
        self.children.extend(other.children);
        self
    }

    /// Leaves out the children of a name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.children.retain(|child| child.name != name);
        self
    }

    /// Its name, without a namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its text; empty if it has children.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its children, in order.
    pub fn children(&self) -> impl Iterator<Item = &Self> {
        self.children.iter()
    }

    /// The first element on a path of names, `instanceState/name`.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Self> {
        let mut element = self;
        for name in path.split('/') {
            element = element.children.iter().find(|child| child.name == name)?;
        }
        Some(element)
    }

    /// The text on a path of names.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&str> {
        self.at(path).map(Self::text)
    }

    /// The items of the list on a path of names; none if there is no list.
    pub fn items(&self, path: &str) -> impl Iterator<Item = &Self> {
        let list = self.at(path);
        list.into_iter().flat_map(|list| &list.children).filter(|child| child.name == "item")
    }

    /// The document that has this element as its root, in a namespace if one is given.
    #[must_use]
    pub fn to_document(&self, namespace: Option<&str>) -> String {
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        self.write(&mut text, namespace);
        text
    }

    fn write(&self, text: &mut String, namespace: Option<&str>) {
        text.push('<');
        text.push_str(&self.name);
        if let Some(namespace) = namespace {
            text.push_str(" xmlns=\"");
            text.push_str(&escape(namespace));
            text.push('"');
        }
        if self.text.is_empty() && self.children.is_empty() {
            text.push_str("/>");
            return;
        }
        text.push('>');
        // A carriage return would be read back as a line feed if it were not escaped.
        let legal: String = self.text.chars().filter(|c| is_legal(*c)).collect();
        text.push_str(&escape(&legal).replace('\r', "&#13;"));
        for child in &self.children {
            child.write(text, None);
        }
        text.push_str("</");
        text.push_str(&self.name);
        text.push('>');
    }

    /// Reads a document. Attributes, comments and text between elements are left out.
    ///
    /// # Errors
    ///
    /// When it is not well-formed, has a document type definition, or is nested more than
    /// 64 levels deep.
    pub fn parse(document: &str) -> Result<Self, NotXml> {
        let tree = roxmltree::Document::parse(document);
        let tree = tree.map_err(|error| NotXml(error.to_string()))?;
        Self::from_node(tree.root_element(), 64)
    }

    fn from_node(node: roxmltree::Node<'_, '_>, depth: usize) -> Result<Self, NotXml> {
        if depth == 0 {
            return Err(NotXml("nested too deep".to_owned()));
        }
        let children = node.children().filter(roxmltree::Node::is_element);
        let children: Vec<_> =
            children.map(|child| Self::from_node(child, depth - 1)).collect::<Result<_, _>>()?;
        let text = match children.is_empty() {
            true => node.children().filter_map(|child| child.text()).collect(),
            false => String::new(),
        };
        Ok(Self { name: node.tag_name().name().to_owned().into(), text, children })
    }
}

/// What a document of XML 1.0 may contain.
pub(crate) fn is_legal(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_element() -> impl Strategy<Value = Element> {
        let name = "[a-zA-Z][a-zA-Z0-9]{0,8}";
        let text = any::<String>().prop_map(|text| text.chars().filter(|c| is_legal(*c)).collect());
        let leaf = (name, text).prop_map(|(name, text): (String, String)| Element::of(name, text));
        leaf.prop_recursive(4, 32, 4, move |inner| {
            (name, prop::collection::vec(inner, 1..4)).prop_map(|(name, children)| {
                children.into_iter().fold(Element::new(name), Element::with)
            })
        })
    }

    proptest! {
        #[test]
        fn any_element_is_read_as_it_was_written(element in any_element()) {
            let document = element.to_document(Some("http://ec2.amazonaws.com/doc/2016-11-15/"));
            prop_assert_eq!(Element::parse(&document), Ok(element));
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            if let Ok(element) = Element::parse(&text) {
                prop_assert!(!element.name().is_empty());
            }
        }
    }

    #[test]
    fn paths_and_lists_find_what_they_name() {
        let state = Element::new("").with(Element::new("state").field("name", "running"));
        let element = Element::new("r").list("set", [state, Element::of("", "second")]);
        let items: Vec<_> = element.items("set").collect();
        assert_eq!(items.len(), 2);
        assert_eq!(items[0].get("state/name"), Some("running"));
        assert_eq!(items[1].text(), "second");
        assert_eq!(element.items("other").count(), 0);
        assert_eq!(element.get("set/other"), None);
    }

    #[test]
    fn definition_of_entities_is_refused() {
        let bomb = "<!DOCTYPE a [<!ENTITY b \"xx\">]><a>&b;</a>";
        assert!(Element::parse(bomb).is_err());
    }

    #[test]
    fn deep_nesting_is_refused() {
        let document = "<a>".repeat(65) + &"</a>".repeat(65);
        assert_eq!(Element::parse(&document), Err(NotXml("nested too deep".to_owned())));
    }
}
