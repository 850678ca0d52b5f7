//! Workloads, baselines, statistics and reports: what `elastane compare` measures and how the
//! result is shown.
//!
//! Two processes take part. A [`Server`] runs on one host and waits; a [`Session`] on the other
//! tells it over one TCP connection which test comes next, and both run their half of it. What a
//! test sends is a [`Load`]: TCP, raw UDP and the fabric implement it alike, so all are measured
//! by the same meter on the same wire. A [`Plan`] says which tests run; [`run_section`] runs those
//! of one network; [`Report`] holds what came out, and the table, the JSON document and the HTML
//! page are all made from it.
//!
//! [`mod@bench`] is one test at a time, with the options and the figures of perftest.
#![forbid(unsafe_code)]

pub mod baseline;
pub mod bench;
pub mod checks;
pub mod clock;
pub mod control;
pub mod cpu;
pub mod fabric_load;
pub mod html;
pub mod load;
pub mod machine;
pub mod meter;
pub mod plan;
pub mod provider_load;
pub mod relay;
pub mod report;
pub mod run;
pub mod server;
pub mod session;
pub mod stats;
pub mod table;
pub mod units;

pub use checks::Check;
pub use fabric_load::FabricTuning;
pub use load::{Load, LoadError, Outcome};
pub use plan::{Plan, Section};
pub use relay::{Job, RelayError};
pub use report::{Metric, Network, Report, SectionReport, Transport};
pub use run::{Event, Fault, FaultControl, run_section};
pub use server::{ServeError, Server};
pub use session::{Session, SessionError};
