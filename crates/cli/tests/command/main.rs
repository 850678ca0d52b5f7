//! The command as its users run it: by arguments, output, exit status and what it leaves behind.

mod arguments;
mod compare;
mod ending;
mod real_hosts;
mod running;
mod simulate;
