//! The parameters of a call: names with dots that make a tree.

use std::{collections::BTreeMap, str::FromStr};

use super::error::ApiError;

/// The longest body that is read, in bytes: user data of 16 KiB leaves room enough.
pub(crate) const MAX_BODY: usize = 1 << 20;
const MAX_PARAMETERS: usize = 10_000;
const MAX_DEPTH: usize = 12;

/// A level of the tree: what a name itself is set to, and what follows it after a dot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    value: Option<String>,
    children: BTreeMap<String, Node>,
}

/// All parameters of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Form(Node);

impl Form {
    /// Reads `name=value&...` with percent signs.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let refuse = |what: &str| ApiError::new("MalformedQueryString", what);
        if body.len() > MAX_BODY {
            return Err(refuse("The request is longer than 1048576 bytes"));
        }
        let mut root = Node::default();
        for (count, (name, value)) in form_urlencoded::parse(body).enumerate() {
            if count >= MAX_PARAMETERS {
                return Err(refuse("The request has more than 10000 parameters"));
            }
            if name.split('.').count() > MAX_DEPTH {
                return Err(refuse("A parameter is nested too deep"));
            }
            if name.split('.').any(str::is_empty) {
                return Err(refuse(&format!("The parameter name '{name}' has an empty part")));
            }
            let node = root.descend(&name);
            if node.value.replace(value.into_owned()).is_some() {
                return Err(refuse(&format!("The parameter {name} is given twice")));
            }
        }
        Ok(Self(root))
    }

    /// Sets a parameter, in place of what it was.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.descend(name).value = Some(value.into());
    }

    /// All of it.
    pub(crate) fn all(&self) -> Parameters<'_> {
        Parameters { node: &self.0, path: String::new() }
    }

    /// Adds what another form has and this one has not, name by name at the top level.
    pub(crate) fn fill_from(&mut self, other: &Self) {
        for (name, node) in &other.0.children {
            self.0.children.entry(name.clone()).or_insert_with(|| node.clone());
        }
    }

    /// The names and values, in the order of the tree.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        self.0.collect("", &mut pairs);
        pairs
    }
}

impl FromIterator<(String, String)> for Form {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let mut form = Self::default();
        for (name, value) in pairs {
            form.set(&name, value);
        }
        form
    }
}

impl Node {
    fn descend(&mut self, name: &str) -> &mut Self {
        name.split('.').fold(self, |node, part| node.children.entry(part.to_owned()).or_default())
    }

    fn collect(&self, path: &str, pairs: &mut Vec<(String, String)>) {
        if let Some(value) = &self.value {
            pairs.push((path.to_owned(), value.clone()));
        }
        for (name, child) in &self.children {
            child.collect(&joined(path, name), pairs);
        }
    }
}

/// Parameters below a name.
#[derive(Debug, Clone)]
pub(crate) struct Parameters<'a> {
    node: &'a Node,
    path: String,
}

impl<'a> Parameters<'a> {
    /// The name these parameters stand under, for messages.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// What the name itself is set to.
    pub(crate) fn value(&self) -> Option<&'a str> {
        self.node.value.as_deref()
    }

    /// The names on this level.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.node.children.keys().map(String::as_str)
    }

    /// What a name is set to; nothing is the same as an empty text.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.node.children.get(name)?.value.as_deref().filter(|value| !value.is_empty())
    }

    /// What a name is set to, which must be something.
    pub(crate) fn required(&self, name: &str) -> Result<&'a str, ApiError> {
        self.text(name).ok_or_else(|| ApiError::missing(&joined(&self.path, name)))
    }

    /// Whether a name is set to `true`; nothing if it is not set.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text {
            "true" | "True" | "1" => Ok(Some(true)),
            "false" | "False" | "0" => Ok(Some(false)),
            _ => Err(self.invalid(name, text, "Expected true or false")),
        }
    }

    /// The number that a name is set to.
    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.parse().map_err(|_| self.invalid(name, text, "Expected a number"))?;
        Ok(Some(number))
    }

    /// What is below a name; empty parameters if nothing is.
    pub(crate) fn below(&self, name: &str) -> Parameters<'a> {
        static NOTHING: Node = Node { value: None, children: BTreeMap::new() };
        let node = self.node.children.get(name).unwrap_or(&NOTHING);
        Parameters { node, path: joined(&self.path, name) }
    }

    /// Whether nothing is set here or below.
    pub(crate) fn is_empty(&self) -> bool {
        self.node.children.is_empty() && self.value().unwrap_or("").is_empty()
    }

    /// The members of the list that a name is: `NAME.1`, `NAME.2` and so on, in that order.
    pub(crate) fn list(&self, name: &str) -> Vec<Parameters<'a>> {
        let list = self.below(name);
        let mut members: Vec<_> = list
            .node
            .children
            .iter()
            .filter_map(|(index, node)| Some((index.parse::<u32>().ok()?, node)))
            .collect();
        members.sort_by_key(|(index, _)| *index);
        let member = |(index, node)| {
            let path = joined(&list.path, &format!("{index}"));
            Parameters { node, path }
        };
        members.into_iter().map(member).collect()
    }

    /// The texts of a list.
    pub(crate) fn texts(&self, name: &str) -> Vec<&'a str> {
        let members = self.list(name).into_iter();
        members.filter_map(|member| member.value()).filter(|text| !text.is_empty()).collect()
    }

    /// That a value of a name is not one it can have.
    pub(crate) fn invalid(&self, name: &str, value: &str, wanted: &str) -> ApiError {
        ApiError::invalid(&joined(&self.path, name), value, wanted)
    }

    /// A copy of what is here, to be kept.
    pub(crate) fn to_form(&self) -> Form {
        Form(self.node.clone())
    }
}

fn joined(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        _ => format!("{path}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_in_the_order_of_their_numbers_and_may_have_gaps() {
        let form = Form::parse(b"Id.10=c&Id.2=b&Id.1=a&Id.x=d").unwrap();
        assert_eq!(form.all().texts("Id"), ["a", "b", "c"]);
    }

    #[test]
    fn nested_members_know_their_whole_name() {
        let form = Form::parse(b"Filter.1.Name=vpc-id&Filter.1.Value.1=%61&Filter.2.X=").unwrap();
        let filters = form.all().list("Filter");
        assert_eq!(filters[0].required("Name"), Ok("vpc-id"));
        assert_eq!(filters[0].texts("Value"), ["a"]);
        assert_eq!(filters[1].required("Name"), Err(ApiError::missing("Filter.2.Name")));
    }

    #[test]
    fn wrong_numbers_and_flags_name_parameter_and_value() {
        let form = Form::parse(b"A.1.Count=x&A.1.On=maybe").unwrap();
        let member = &form.all().list("A")[0];
        let message = member.number::<u32>("Count").unwrap_err().message;
        assert!(message.contains("(x) for parameter A.1.Count"), "{message}");
        assert_eq!(member.flag("On").unwrap_err().code, "InvalidParameterValue");
        assert_eq!(member.flag("Off"), Ok(None));
    }

    #[test]
    fn request_beyond_a_limit_is_refused() {
        let deep = "a.".repeat(20) + "b=1";
        let (many, empty) = ("a=1&".repeat(2), "a..b=1".to_owned());
        let long = vec![b'a'; MAX_BODY + 1];
        for body in [deep.as_bytes(), many.as_bytes(), empty.as_bytes(), &long] {
            assert_eq!(Form::parse(body).unwrap_err().code, "MalformedQueryString");
        }
    }

    #[test]
    fn template_fills_only_what_is_not_given() {
        let mut form = Form::parse(b"ImageId=mine&Tag.1.Key=a").unwrap();
        form.fill_from(&Form::parse(b"ImageId=theirs&Tag.1.Key=b&Tag.2.Key=c&KeyName=k").unwrap());
        let expected = [("ImageId", "mine"), ("KeyName", "k"), ("Tag.1.Key", "a")];
        assert_eq!(form.pairs(), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(form) = Form::parse(&body) {
                prop_assert_eq!(form.pairs().into_iter().collect::<Form>(), form);
            }
        }

        #[test]
        fn any_pairs_are_read_as_they_were_written(
            pairs in prop::collection::btree_map("[A-Z]{1,6}(\\.[1-9a-z]){0,3}", ".*", 0..9)
        ) {
            let mut body = form_urlencoded::Serializer::new(String::new());
            body.extend_pairs(&pairs);
            let form = Form::parse(body.finish().as_bytes()).unwrap();
            let read: BTreeMap<_, _> = form.pairs().into_iter().collect();
            prop_assert_eq!(read, pairs);
        }
    }
}
