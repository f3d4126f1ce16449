//! The Vedette operator: rules and nodes in, one NodeConfig for each selected node out; what agents report there in, the
//! rules' status out.
//!
//! ```text
//!              API server
//!   rules, Nodes, │ NodeConfigs, agent pods          watch      one task a kind, begins again by itself
//!                 ▼
//!               events                               observed   objects to facts; what cannot be read is a fact too
//!                 ▼
//!   reconcile ─ fleet ── dirty ──► queue ──► plan     fleet      the model and every decision: no client, no clock
//!       ▲         │                           │       queue      each object once, with backoff
//!       └────────── stored ◄── apply ◄────────┘       apply      one server-side apply; 50 a second, 16 at a time
//!                 │              ▲
//!                 │         leadership                leadership  whether this one leads, asked right before each write
//!                 │              ▲
//!                 │      lease ─ election             lease      renews or waits; election decides, purely
//!                 ▼
//!      hold ── notices ──► recorder ──► Events        hold       what changed and has stayed so for a minute; notice: its
//!                                                                words; recorder: at most so many a minute
//! ```
//! One task ([`run`] starts them all) owns the model and is the only one that decides. A task that ends early ends the
//! process. Nothing is created, changed or deleted before the first lists of all four kinds are complete, nor while another
//! operator leads: a standby runs the upper half alone, so that it knows everything the moment it leads.
//!
//! [`check`] is another program in the same binary: it says once whether an installation is whole.

mod apply;
mod check;
mod election;
mod event;
mod fleet;
mod hold;
mod http;
mod leadership;
mod lease;
mod metrics;
mod names;
mod notice;
mod observed;
mod queue;
mod reconcile;
mod recorder;
mod run;
mod sentences;
mod time;
mod tolerant;
mod watch;

pub use check::{CheckError, CheckSettings, check};
pub use run::{RunError, Settings, run};
