//! Machines of this machine: what passes between them, and who has EFA.
//!
//! These tests need root, and what Debian's packages `openssh-server`, `openssh-client`,
//! `nftables`, `e2fsprogs` and `libfabric-bin` bring. Where that is missing they fail and say why.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod flows;
mod place;
mod policy;
