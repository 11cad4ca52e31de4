//! What the tests and benches hold the engine to.
//!
//! Enabled by the feature `testing`. Nothing here is needed to use the library, and nothing in the
//! library names anything here.

mod certificate;
mod content;
mod disk;
pub mod kill;
mod model;
pub mod trials;

pub use certificate::{Certificate, Extent, ScenarioReport, certify};
#[cfg(test)]
pub(crate) use certificate::{between_slices, same};
pub use disk::{Call, Disk, Failure, Fault, Remains};
pub use model::{Model, Refusal};
