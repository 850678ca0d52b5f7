//! How far a measurement is, for whoever waits at the terminal.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use cluster::store::State;
use indicatif::{ProgressBar, ProgressStyle};
use perf::Event;

use crate::{interrupt::Interrupts, output};

const TICK: Duration = Duration::from_millis(100);

/// A bar on standard error; without a terminal there, a line per part.
pub(crate) struct Progress {
    bar: ProgressBar,
    part: String,
    is_seen: bool,
}

impl Progress {
    /// Nothing is shown until something begins.
    pub(crate) fn new(interrupts: &Interrupts) -> Self {
        let bar = ProgressBar::new(0);
        let cleared = bar.clone();
        interrupts.on_interrupt(move || cleared.finish_and_clear());
        Self { bar, part: String::new(), is_seen: io::stderr().is_terminal() }
    }

    /// A part of the work begins, whose tests [`Progress::event`] will count.
    pub(crate) fn part(&mut self, name: &str, number: usize, of: usize) {
        self.part = format!("[{number}/{of}] {name}");
        let style = "{prefix:18} {bar:28} {pos:>3}/{len:3} {elapsed:>4} {wide_msg}";
        self.bar.set_style(style_of(style));
        self.bar.reset();
        self.bar.set_prefix(self.part.clone());
        self.bar.set_message("making hosts");
        self.bar.enable_steady_tick(TICK);
    }

    /// Work begins whose extent is not known.
    pub(crate) fn spinner(&mut self, what: String) {
        self.bar.set_style(style_of("{spinner} {elapsed:>4} {wide_msg}"));
        self.bar.set_message(what);
        self.bar.enable_steady_tick(TICK);
    }

    /// Something happened in the current part.
    pub(crate) fn event(&mut self, event: Event) {
        match event {
            Event::Began { tests } => {
                self.bar.set_length(u64::try_from(tests).unwrap_or(u64::MAX));
                if !self.is_seen {
                    output::say(&format!("{}: {tests} tests", self.part));
                }
            }
            Event::Testing { what } => self.bar.set_message(what),
            Event::Tested => self.bar.inc(1),
        }
    }

    /// Says something above the bar.
    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| output::say(line));
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

fn style_of(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well-formed")
}

/// How far the making of a cluster is: a line for each step that ended, a spinner for the one that
/// is under way.
pub(crate) struct Steps {
    bar: ProgressBar,
    /// How many steps were said to have ended.
    said: usize,
}

impl Steps {
    /// Nothing is shown before the first step.
    pub(crate) fn new(interrupts: &Interrupts) -> Self {
        let bar = ProgressBar::new_spinner();
        let cleared = bar.clone();
        interrupts.on_interrupt(move || cleared.finish_and_clear());
        bar.set_style(style_of("{spinner} {wide_msg}"));
        Self { bar, said: 0 }
    }

    /// Shows what is new in a record.
    pub(crate) fn show(&mut self, state: &State) {
        let count = state.steps.len();
        for (number, step) in state.steps.iter().enumerate().skip(self.said) {
            let place = format!("[{}/{count}] {}", number + 1, step.what);
            match (step.began, step.ended, &step.failed) {
                (_, _, Some(_)) => {
                    self.bar.suspend(|| output::say(&format!("{place}: failed")));
                    self.said = number + 1;
                }
                (Some(began), Some(ended), None) => {
                    let time = Duration::from_millis(ended.saturating_sub(began));
                    let line = format!("{place}: {:.2} s", time.as_secs_f64());
                    self.bar.suspend(|| output::say(&line));
                    self.said = number + 1;
                }
                (Some(_), None, None) => {
                    self.bar.set_message(place);
                    self.bar.enable_steady_tick(TICK);
                    return;
                }
                (None, ..) => return,
            }
        }
    }

    /// Takes the spinner away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
