//! What every describing call does: pick by id, filter, cut into pages.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    error::{Answer, ApiError},
    parameters::Parameters,
};
use crate::Element;

/// How a kind of thing is described.
pub(crate) struct Listing {
    /// The element that holds the answer's items.
    pub(crate) set: &'static str,
    /// The parameter that lists ids, and where an item has its own.
    pub(crate) id: (&'static str, &'static str),
    /// More such parameters, names for one.
    pub(crate) names: &'static [(&'static str, &'static str)],
    /// The code when an id or name leads to nothing.
    pub(crate) not_found: &'static str,
    /// What is listed, for messages.
    pub(crate) what: &'static str,
    /// The filters: their names, and the paths of what they compare.
    pub(crate) filters: &'static [(&'static str, &'static str)],
    /// The most items of a page, where pages are not asked for; all if none.
    pub(crate) page: Option<usize>,
}

impl Listing {
    /// The answer: those of the items that are asked for, in their order.
    pub(crate) fn answer(&self, parameters: &Parameters<'_>, items: Vec<Element>) -> Answer {
        let (items, next) = self.select(parameters, items)?;
        Ok(Element::new("").list(self.set, items).field_if("nextToken", next))
    }

    /// Those of the items that are asked for, and where the next page begins.
    pub(crate) fn select(
        &self,
        parameters: &Parameters<'_>,
        mut items: Vec<Element>,
    ) -> Result<(Vec<Element>, Option<String>), ApiError> {
        for (parameter, path) in [&self.id].into_iter().chain(self.names) {
            let wanted = parameters.texts(parameter);
            if wanted.is_empty() {
                continue;
            }
            for id in &wanted {
                if !items.iter().any(|item| item.get(path) == Some(id)) {
                    return Err(ApiError::not_found(self.not_found, self.what, id));
                }
            }
            items.retain(|item| wanted.iter().any(|id| item.get(path) == Some(id)));
        }
        for filter in Filter::parse(parameters)? {
            let paths = self.paths(&filter)?;
            items.retain(|item| filter.matches(item, &paths));
        }
        self.page_of(parameters, items)
    }

    /// Where an item has what the filter compares.
    fn paths<'f>(&self, filter: &'f Filter<'_>) -> Result<Vec<Path<'f>>, ApiError> {
        if let Some(key) = filter.name.strip_prefix("tag:") {
            return Ok(vec![Path::Tag(key)]);
        }
        let own = self.filters.iter().filter(|(name, _)| *name == filter.name);
        let mut paths: Vec<_> = own.map(|(_, path)| Path::Steps(path)).collect();
        match filter.name {
            "tag-key" => paths.push(Path::Steps("tagSet/item/key")),
            "tag-value" => paths.push(Path::Steps("tagSet/item/value")),
            _ => {}
        }
        if paths.is_empty() {
            let message = format!("The filter '{}' is invalid", filter.name);
            return Err(ApiError::new("InvalidParameterValue", message));
        }
        Ok(paths)
    }

    fn page_of(
        &self,
        parameters: &Parameters<'_>,
        mut items: Vec<Element>,
    ) -> Result<(Vec<Element>, Option<String>), ApiError> {
        let size = parameters.number::<usize>("MaxResults")?;
        if let Some(size) = size.filter(|size| !(1..=1000).contains(size)) {
            let size = size.to_string();
            return Err(parameters.invalid("MaxResults", &size, "Expected 1 to 1000"));
        }
        let id_of = |item: &Element| item.get(self.id.1).unwrap_or_default().to_owned();
        if let Some(token) = parameters.text("NextToken") {
            let last = URL_SAFE_NO_PAD.decode(token).ok();
            let last = last.and_then(|last| String::from_utf8(last).ok());
            let last = last.and_then(|last| items.iter().position(|item| id_of(item) == last));
            let last = last.ok_or_else(|| {
                ApiError::new("InvalidNextToken", format!("The token '{token}' is invalid"))
            })?;
            items.drain(..=last);
        }
        let Some(size) = size.or(self.page).filter(|size| *size < items.len()) else {
            return Ok((items, None));
        };
        items.truncate(size);
        let token = items.last().map(|item| URL_SAFE_NO_PAD.encode(id_of(item)));
        Ok((items, token))
    }
}

enum Path<'a> {
    Steps(&'a str),
    /// The value of the tag with this key.
    Tag(&'a str),
}

/// One condition: what the name stands for is one of the patterns.
struct Filter<'a> {
    name: &'a str,
    values: Vec<&'a str>,
}

impl<'a> Filter<'a> {
    fn parse(parameters: &Parameters<'a>) -> Result<Vec<Self>, ApiError> {
        let filters = parameters.list("Filter");
        let parse = |filter: &Parameters<'a>| {
            let (name, values) = (filter.required("Name")?, filter.list("Value"));
            if values.is_empty() {
                let message = format!("The filter '{name}' has no values");
                return Err(ApiError::new("InvalidParameterValue", message));
            }
            let values = values.iter().map(|value| value.value().unwrap_or_default()).collect();
            Ok(Self { name, values })
        };
        filters.iter().map(parse).collect()
    }

    fn matches(&self, item: &Element, paths: &[Path<'_>]) -> bool {
        paths.iter().any(|path| match path {
            Path::Steps(steps) => any_text(item, steps, &|text| self.accepts(text)),
            Path::Tag(key) => item
                .items("tagSet")
                .filter(|tag| tag.get("key") == Some(key))
                .any(|tag| self.accepts(tag.get("value").unwrap_or_default())),
        })
    }

    fn accepts(&self, text: &str) -> bool {
        self.values.iter().any(|pattern| fits(pattern.as_bytes(), text.as_bytes()))
    }
}

/// Whether a text that the path leads to, through any member of lists on it, is accepted.
fn any_text(element: &Element, steps: &str, accepts: &dyn Fn(&str) -> bool) -> bool {
    let (name, rest) = match steps.split_once('/') {
        Some((name, rest)) => (name, Some(rest)),
        None => (steps, None),
    };
    element.children().filter(|child| child.name() == name).any(|child| match rest {
        Some(rest) => any_text(child, rest, accepts),
        None => accepts(child.text()),
    })
}

/// Whether a text fits a pattern: `*` is any text, `?` any one byte, `\` takes its meaning away.
fn fits(mut pattern: &[u8], mut text: &[u8]) -> bool {
    // Where to go on when the text after the last `*` does not fit: one byte later.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        let (literal, rest) = match pattern {
            [b'*', rest @ ..] => {
                pattern = rest;
                retry = Some((rest, text));
                continue;
            }
            [b'?', rest @ ..] => (None, rest),
            [b'\\', byte, rest @ ..] | [byte, rest @ ..] => (Some(*byte), rest),
            [] => (None, &[][..]),
        };
        match text {
            [byte, after @ ..] if !pattern.is_empty() && literal.is_none_or(|l| l == *byte) => {
                (pattern, text) = (rest, after);
            }
            [] if pattern.is_empty() => return true,
            _ => match retry {
                Some((after_star, [_, later @ ..])) => {
                    (pattern, text) = (after_star, later);
                    retry = Some((after_star, later));
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ec2::parameters::Form;

    const LISTING: Listing = Listing {
        set: "thingSet",
        id: ("ThingId", "thingId"),
        names: &[],
        not_found: "InvalidThing.NotFound",
        what: "thing",
        filters: &[("owner", "owner"), ("group-id", "groupSet/item/groupId")],
        page: None,
    };

    fn things() -> Vec<Element> {
        let thing = |(id, owner, groups, name): (&str, &str, &[&str], &str)| {
            let groups = groups.iter().map(|id| Element::new("").field("groupId", id));
            let tag = Element::new("").field("key", "Name").field("value", name);
            let thing = Element::new("item").field("thingId", id).field("owner", owner);
            thing.list("groupSet", groups).list("tagSet", [tag])
        };
        [
            ("t-1", "a", &["g-1", "g-2"][..], "head"),
            ("t-2", "b", &["g-2"], "node"),
            ("t-3", "b", &[], "node"),
        ]
        .map(thing)
        .into()
    }

    fn found(query: &str) -> Result<Vec<String>, String> {
        let form = Form::parse(query.as_bytes()).unwrap();
        let answer = LISTING.answer(&form.all(), things()).map_err(|error| error.code)?;
        let ids = answer.items("thingSet").map(|item| item.get("thingId").unwrap().to_owned());
        Ok(ids.chain(answer.get("nextToken").map(str::to_owned)).collect())
    }

    fn ids(list: &[&str]) -> Result<Vec<String>, String> {
        Ok(list.iter().map(|id| (*id).to_owned()).collect())
    }

    #[test]
    fn filters_are_all_true_and_their_values_alternatives() {
        assert_eq!(found("Filter.1.Name=owner&Filter.1.Value.1=b"), ids(&["t-2", "t-3"]));
        assert_eq!(found("Filter.1.Name=group-id&Filter.1.Value.1=g-2"), ids(&["t-1", "t-2"]));
        let both = "Filter.1.Name=owner&Filter.1.Value.1=b&Filter.1.Value.2=a&\
                    Filter.2.Name=group-id&Filter.2.Value.1=g-1";
        assert_eq!(found(both), ids(&["t-1"]));
        assert_eq!(found("Filter.1.Name=tag:Name&Filter.1.Value.1=n*e"), ids(&["t-2", "t-3"]));
        assert_eq!(found("Filter.1.Name=tag-key&Filter.1.Value.1=Other"), ids(&[]));
    }

    #[test]
    fn unknown_filters_and_ids_are_errors() {
        let invalid = Err("InvalidParameterValue".to_owned());
        assert_eq!(found("Filter.1.Name=colour&Filter.1.Value.1=b"), invalid);
        assert_eq!(found("Filter.1.Name=owner"), invalid);
        assert_eq!(found("ThingId.1=t-2&ThingId.2=t-9"), Err("InvalidThing.NotFound".to_owned()));
    }

    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let mut first = found("MaxResults=2").unwrap();
        let token = first.pop().unwrap();
        assert_eq!(first, ["t-1", "t-2"]);
        assert_eq!(found(&format!("MaxResults=2&NextToken={token}")), ids(&["t-3"]));
        assert_eq!(found("NextToken=nonsense"), Err("InvalidNextToken".to_owned()));
        assert_eq!(found("MaxResults=0"), Err("InvalidParameterValue".to_owned()));
    }

    #[test]
    fn patterns_fit_as_ec2_says() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("*", "", true),
            ("a*b*c", "a-bb-b-c", true),
            ("a*b*c", "a-bb-b-d", false),
            ("c5n.*", "c5n.18xlarge", true),
            ("?", "ab", false),
            (r"\*", "*", true),
            (r"\*", "a", false),
            (r"a\", r"a\", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn pattern_fits_what_it_was_made_of(
            text in "[a-c*?]{0,12}", (start, end) in (0usize..13, 0usize..13)
        ) {
            let (start, end) = (start.min(text.len()), end.min(text.len()));
            let escape = |t: &str| t.replace('*', "\\*").replace('?', "\\?");
            let (start, end) = (start.min(end), end);
            let pattern = format!("{}*{}", escape(&text[..start]), escape(&text[end..]));
            prop_assert!(fits(pattern.as_bytes(), text.as_bytes()));
            prop_assert!(fits(escape(&text).as_bytes(), text.as_bytes()));
        }

        #[test]
        fn any_pattern_ends(pattern in "[ab*?\\\\]{0,20}", text in "[ab]{0,30}") {
            fits(pattern.as_bytes(), text.as_bytes());
        }
    }
}
