//! The view that redraws itself, until somebody presses q.

use std::time::Duration;

use anyhow::{Context as _, Result};
use inspect::live::Document;
use perf::clock::Clock;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use crate::{interrupt::Interrupts, output};

use super::{
    Watched,
    history::History,
    view::{self, Choice},
};

/// Shows the endpoints of a process until a key ends it or there is nothing more to watch.
pub(super) fn run(
    watched: &Watched,
    first: Document,
    interval: Duration,
    colour: bool,
    interrupts: &Interrupts,
) -> Result<()> {
    let mut history = History::default();
    history.push(first);
    // A signal that is no key comes to another thread, which ends the process.
    interrupts.on_interrupt(ratatui::restore);
    let mut terminal = ratatui::try_init().context("cannot take over the terminal")?;
    let screen = Screen;
    let outcome = watch(&mut terminal, watched, &mut history, interval, colour);
    drop(screen);
    if let Some(farewell) = outcome? {
        output::say(&farewell);
    }
    Ok(())
}

/// Gives the terminal back when dropped. Panics are provided for by a hook of their own.
struct Screen;

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Returns what is to be said once the terminal is as before.
fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    watched: &Watched,
    history: &mut History,
    interval: Duration,
    colour: bool,
) -> Result<Option<String>> {
    let clock = Clock::start();
    let mut next = clock.now() + interval;
    let mut choice = Choice::default();
    loop {
        choice.fit(history.latest());
        let drawn = terminal.draw(|frame| {
            let area = frame.area();
            view::draw(history, &watched.name, choice, colour, area, frame.buffer_mut());
        });
        drawn.context("cannot draw on the terminal")?;
        if event::poll(next.since(clock.now())).context("cannot read keys")? {
            match react(&event::read().context("cannot read keys")?) {
                Reaction::End => return Ok(None),
                Reaction::Choose(change) => change(&mut choice),
                Reaction::Redraw => {}
            }
            continue;
        }
        match watched.fetch() {
            Ok(document) => history.push(document),
            Err(error) => return Ok(Some(watched.farewell(&error))),
        }
        next = clock.now() + interval;
    }
}

enum Reaction {
    End,
    Choose(fn(&mut Choice)),
    Redraw,
}

fn react(event: &Event) -> Reaction {
    let Event::Key(key) = event else { return Reaction::Redraw };
    if key.kind == KeyEventKind::Release {
        return Reaction::Redraw;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Reaction::End,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Reaction::End,
        KeyCode::Tab => Reaction::Choose(|choice| {
            choice.endpoint += 1;
            choice.peer = 0;
        }),
        KeyCode::Down => Reaction::Choose(|choice| choice.peer += 1),
        KeyCode::Up => Reaction::Choose(|choice| choice.peer = choice.peer.saturating_sub(1)),
        _ => Reaction::Redraw,
    }
}
