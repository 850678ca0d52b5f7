//! Instances that really boot: what they see, whom they reach, and what is left of them.
//!
//! These tests need root, and what Debian's packages `openssh-server`, `openssh-client`,
//! `nftables` and `e2fsprogs` bring. Where that is missing they fail and say why.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod life;
mod lifetime;
mod site;
