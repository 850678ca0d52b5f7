//! Horizontal bars, as elements of the page: their text stays readable on a telephone.

use maud::{Markup, html};

use crate::report::Transport;

/// One bar.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) transport: Transport,
    pub(super) value: f64,
    /// The value in words.
    pub(super) text: String,
    /// Whether it begins a group.
    pub(super) lead: bool,
}

/// How lengths follow from values.
#[derive(Clone, Copy)]
pub(super) enum Scale {
    Linear,
    /// The shortest bar has this value; each step of the same length is the same factor.
    Logarithmic {
        from: f64,
    },
}

impl Scale {
    /// The part of the full length a value has.
    fn part(self, value: f64, longest: f64) -> f64 {
        let part = match self {
            Self::Linear => value / longest,
            Self::Logarithmic { from } => (value / from).ln() / (longest / from).ln(),
        };
        if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// A line across the bars, to compare them with.
pub(super) struct Mark {
    pub(super) value: f64,
    pub(super) name: String,
    /// Whether it is a mark of the scale only.
    pub(super) faint: bool,
}

impl Mark {
    /// What the bars are measured by.
    pub(super) fn goal(value: f64, name: &str) -> Vec<Self> {
        vec![Self { value, name: name.to_owned(), faint: false }]
    }
}

/// Draws bars and lines across them.
pub(super) fn bars(all: &[Bar], scale: Scale, marks: &[Mark]) -> Markup {
    let values = all.iter().map(|bar| bar.value);
    let values = values.chain(marks.iter().map(|mark| mark.value));
    let longest = values.fold(0.0, f64::max);
    let percent = |value| format!("{:.2}%", 100.0 * scale.part(value, longest));
    html! {
        div.bars {
            @for bar in all {
                span.label.lead[bar.lead] { (bar.label) }
                span.track.lead[bar.lead] {
                    @for mark in marks {
                        span.mark.faint[mark.faint] style={ "left:" (percent(mark.value)) } {}
                    }
                    span class={ "bar " (bar.transport.name()) }
                        style={ "width:" (percent(bar.value)) } {}
                }
                span.value.lead[bar.lead] { (bar.text) }
            }
            @if !marks.is_empty() {
                span.label {}
                span.names {
                    @for mark in marks {
                        span style={ "left:" (percent(mark.value)) } { (mark.name) }
                    }
                }
                span.value {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_follow_the_scale() {
        assert!((Scale::Linear.part(25.0, 100.0) - 0.25).abs() < 1e-9);
        let logarithmic = Scale::Logarithmic { from: 0.001 };
        assert!((logarithmic.part(0.01, 1.0) - 1.0 / 3.0).abs() < 1e-9);
        assert!(logarithmic.part(0.0001, 1.0).abs() < 1e-9, "shorter than the shortest");
        assert!(Scale::Linear.part(0.0, 0.0).abs() < 1e-9, "nothing measured");
    }
}
