//! Container images of operator and agent, without a container engine and without a registry.
//!
//! ```text
//! build ──► program ──► image ──────────────► archive
//! (cargo,   (an ELF     (whom it runs as,     (tar: oci-layout, index.json,
//! static)   file, read)  layer, config, labels) blobs by their digests)
//! ```
//! The same programs give the same archive, to the byte: nothing in it says when, where or by whom it was made.

pub mod archive;
pub mod build;
pub mod error;
pub mod image;
pub mod program;

pub use error::{Error, Result};
