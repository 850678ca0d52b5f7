//! The RDM message layer over a model network: reliable, unordered, at most once.

mod claims;
mod exhaustion;
mod failure;
mod landing;
mod large;
mod loans;
mod matching;
mod model;
mod multi;
mod network;
mod one_sided;
mod sequel;
mod sharing;
