//! What people are told by: alerts with their pages, and the dashboard. Judged by the real promtool, and by a real Prometheus that
//! scrapes real agents and a real operator.
#![allow(clippy::unwrap_used)]

mod alerts;
mod chart;
mod dashboard;
mod pages;
mod rules;
mod scraped;

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};
use vedette_tests::prometheus::Promtool;

static PROMTOOL: LazyLock<Promtool> =
    LazyLock::new(|| Promtool::find_or_fetch().unwrap_or_else(|error| panic!("{error:?}")));

/// A place in this tree.
fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
