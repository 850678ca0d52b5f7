//! Endpoints in processes of their own that send each other whatever they like for as long as is
//! asked, over UDP with faults and through shared memory, while some of them are killed, stopped
//! and started again. Every message is checked: whole, once, and matched in its sender's order.
//! Beside messages they write into each other's memory, read it back and count in it.
//!
//! `cargo run --release -p elastane-fabric --example soak -- [MINUTES] [SEED]`
//!
//! Exit status 1 if a promise was broken; what broke it is printed.

mod memory;
mod message;
mod supervisor;
mod worker;

use std::{env, process::ExitCode};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, Failure> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == worker::NAME) {
        return worker::run(&arguments[1..]).map(|()| true);
    }
    let minutes: f64 = match arguments.first() {
        Some(text) => text.parse().map_err(|_| format!("{text} is no number of minutes"))?,
        None => 1.0,
    };
    let seed: u64 = match arguments.get(1) {
        Some(text) => text.parse().map_err(|_| format!("{text} is no seed, a whole number"))?,
        None => 1,
    };
    if !(minutes > 0.0 && minutes < 1e6) {
        return Err(format!("{minutes} minutes: name a number above 0").into());
    }
    supervisor::run(minutes, seed)
}
