//! What the tests and benches hold the engine to.
//!
//! Enabled by the feature `testing`. Nothing here is needed to use the library, and nothing in the
//! library names anything here.

pub mod encodings;
mod model;

pub use model::{Model, Refusal};
