//! Vedette.
