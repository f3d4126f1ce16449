//! What operator and agent are as services, whatever they work on: how they reach the API server, how they go on when it
//! is away, how they answer over HTTP, what they log and how they are told to end.
//!
//! ```text
//! --kubeconfig, pod ──api_server──> ApiServer ──watch──> events, for ever
//!                                       │          │
//!                                   refusal     retry: when to try again, when to speak of it
//! scrapes, probes ──http──> Pages                  │
//! SIGTERM ──signals──> the end                    log ──> standard error
//! ```
//! It knows no kind of ours and decides nothing about one.

mod api_server;
pub mod http;
mod log;
mod refusal;
mod report;
mod retry;
mod signals;
mod small_file;
mod token;
mod watch;

pub use api_server::{ApiServer, ConnectError};
pub use log::{LogFormat, Logging};
pub use refusal::{MissingRight, Refusal, is_no_kind, missing_right, reason, refusal};
pub use report::{deepest, report};
pub use retry::{Failed, Retry, lasting, rough};
pub use signals::Signals;
pub use watch::{Broken, Watch};
