//! The engine: looks at a host's files, compares them with what was, and commits the difference.
//!
//! ```text
//! rules --(adopt: resolve links, sort, count)--> plan            what is selected: pure, asked name by name
//! plan  --(walk: threads, directory by directory)--> findings    look: one item, confined to the host root
//! findings --(commit: the one writer)--> state + journal         compared again inside the transaction
//! journal --(cursors)--> whoever reads                           journal: lines after a sequence
//! ```
//!
//! [`Engine`] does one compare when it is told to; [`driver::Driver`] tells it to, by intervals, on a thread of its own.
//! No Kubernetes, no HTTP, no async runtime. What only Linux has stands in `host`, `mounts`, `look`, `xattrs`, `volumes`,
//! `machine`, `background` and `page_cache`; `item`, `plan`, `select`, `page`, `meta`, `commit` and `records` do not know it.
//!
//! | room | what it holds |
//! |---|---|
//! | [`engine`], `outcome`, `prepare`, `compare` | what the caller holds, and is told; what a compare stands on; one compare, from the mount table to the notice at its end |
//! | [`driver`] | intervals, configuration changes, reopening after a fault |
//! | `plan`, `select` | rules as they are walked; what they select, name by name |
//! | `plans`, `view`, `known` | older plans; what a plan selects of the state; what is known of a name from before |
//! | `adopt`, `retain`, `suspend` | how a plan comes into force; what left watch; what is frozen while its rule is suspended |
//! | `follow`, `leads` | links that are followed, and where they lead; how much of it |
//! | `walk`, `frontier`, `crew`, `flow`, `remote` | the way down, its stack, its threads, what they send, those that may never come back; `stop` ends it |
//! | `host`, `mounts`, `mounted`, `newcomers` | confined opening; mounts; one that came, went or was exchanged; in mid-compare |
//! | `look`, `gate`, `xattrs` | one look; whether it has to read; attributes |
//! | `digest`, `hashing` | digests; contents that are hashed together |
//! | `budget`, `pace`, `pressure`, `machine` | what may be taken of the machine; how it is kept; when to make way; what it says |
//! | `background`, `page_cache` | behind all others; reading without driving theirs out of the cache |
//! | `item`, `attributes` | a state and the comparison of two; text of access lists and capabilities |
//! | `commit`, `vanish`, `records`, `render` | the transaction; what is gone; who reports what; a state as a record shows it |
//! | `store`, `page`, `meta`, `volumes` | the database; its pages; its description; file systems by lasting identity |
//! | `anchor` | whether the state is the one that was known elsewhere; another journal if it is not |
//! | [`verify`] | whether a state, or lines that were taken out of one, are whole |
//! | [`inspect`], [`explain`] | what the state holds; why a path is tracked or not |
//! | `fault`, `holder` | why the state cannot be used; who else uses it |
//! | `batch`, `lane`, `side_by_side` | small files that wait to be hashed together; large ones that wait to be read; several of them at once |
//! | `moves`, `hard_links` | files that are gone here and there again; files with several names |
//! | `unknown`, `absent` | what could not be seen; file systems that are not mounted where they were |
//! | `compared`, `idle`, `progress` | when what was last compared; entries that select nothing; how far a compare is |
//! | [`journal`], `prune` | lines and cursors for sinks; the journal's bound |

mod absent;
mod adopt;
mod anchor;
mod attributes;
mod background;
mod batch;
mod budget;
pub mod clock;
mod commit;
mod compare;
mod compared;
mod crew;
mod digest;
pub mod driver;
pub mod engine;
pub mod explain;
mod fault;
mod flow;
mod follow;
mod frontier;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod hard_links;
mod hashing;
mod holder;
mod host;
mod idle;
pub mod inspect;
mod item;
pub mod journal;
mod known;
mod lane;
mod leads;
mod listing;
mod look;
mod machine;
mod meta;
mod mounted;
mod mounts;
mod moves;
mod newcomers;
mod outcome;
mod pace;
mod page;
mod page_cache;
mod path;
mod plan;
mod plans;
mod prepare;
mod pressure;
mod progress;
mod prune;
mod records;
mod remote;
mod render;
mod retain;
#[cfg(test)]
mod scratch;
mod select;
mod side_by_side;
mod stop;
mod store;
mod suspend;
mod unknown;
mod vanish;
pub mod verify;
mod view;
mod volumes;
mod walk;
mod xattrs;

pub use anchor::Anchor;
pub use budget::{Budget, Usage, Wait};
pub use commit::Identity;
pub use engine::{Engine, EngineError, Settings};
pub use fault::{Cause, StoreError};
pub use holder::Holder;
pub use idle::IdleEntry;
pub use meta::{RuleTotals, Totals};
pub use pace::Pace;
pub use path::HostPath;
pub use plan::Due;
pub use progress::{Progress, SoFar};
pub use prune::{JOURNAL_MAX, JOURNAL_MIN};
#[doc(hidden)]
pub use store::Medium;
pub use store::SOCKET;
pub use unknown::{Aspect, Unknown, Unknowns};
