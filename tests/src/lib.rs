//! A real control plane on loopback, with the product installed and running on it, for tests and for the demo.
//!
//! ```text
//! binaries ──► control_plane ──► cluster ──────────────────► daemon (operator, agents)
//! (etcd and    (processes, pki,  (manifest applied; nodes,   (the product's binaries from `products`,
//! apiserver)    run_folder)       pods, identities)           their metrics, records and logs)
//! ```
//! [`RealCluster`] puts the control plane into a network of its own, with nodes that run real pods: see [`nodes`].
//!
//! A test reads like this:
//! ```no_run
//! # async fn example() -> vedette_tests::Result<()> {
//! use vedette_tests::Cluster;
//!
//! let cluster = Cluster::start().await?;
//! cluster.add_node("n1", &[("role", "web")]).await?;
//! let operator = cluster.start_operator().await?;
//! let mut agent = cluster.start_agent("n1", "/tmp/host".as_ref()).await?;
//! agent.kill()?;
//! agent.start().await?;
//! let scans = agent.metrics().await?.sum("vedette_agent_scan_items_total", &[]);
//! # Ok(()) }
//! ```
//! Nothing here outlives the process, however it ends; nothing listens beyond loopback.

pub mod binaries;
pub mod cluster;
pub mod control_plane;
pub mod daemon;
pub mod demo;
pub mod error;
mod go_build;
mod ground;
pub mod helm;
pub mod host;
pub mod identity;
mod installation;
pub mod kubernetes_validate;
pub mod load;
pub mod loopback;
pub mod metrics;
pub mod mounts;
pub mod nodes;
mod packages;
mod pki;
pub mod process;
pub mod products;
pub mod prometheus;
pub mod release;
mod run_folder;
mod shared;
pub mod wait;

pub use cluster::Cluster;
pub use control_plane::ControlPlane;
pub use daemon::{Agent, Daemon, Operator};
pub use error::{Error, Result};
pub use host::ScratchHost;
pub use identity::Identity;
pub use metrics::Metrics;
pub use nodes::{Node, RealCluster};
pub use pki::Authority;
pub use products::{Products, products};
pub use shared::SharedCluster;
pub use wait::{NotYet, eventually, not_yet};
