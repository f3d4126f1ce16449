//! The task that stands for election: reads and writes the Lease, says through [`Leadership`] whether this process leads.
//! [`election`](crate::election) decides. It begins when everything has been listed once, so that nobody leads who does
//! not know the cluster, and hands the Lease back when it is told to leave.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use vedette_service::reason;

use crate::apply::Trouble;
use crate::election::{Candidate, Standing, Verdict};
use crate::leadership::{LEASE_DURATION, Leadership, RENEW_DEADLINE, Role};
use crate::metrics::Metrics;
use crate::names::OPERATOR;
use crate::time::{Moment, boottime};

/// Three renewals may fail before a term ends.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(3);

/// A Lease that was handed back is taken within this time; a get of one object a second is what a standby costs.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Short enough that a renewal can be tried again within a term.
const LONGEST_REQUEST: Duration = Duration::from_secs(4);

/// The same trouble is said again after this time.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// Why a round of the election came to nothing.
#[derive(Debug, Error)]
enum LeaseError {
    #[error("cannot {verb} the Lease {OPERATOR}: {said}")]
    Request { verb: &'static str, trouble: Trouble, said: String },
    #[error("cannot use the Lease {OPERATOR}: no answer within {LONGEST_REQUEST:?}")]
    TimedOut,
}

/// How a round of the election ended.
enum Stood {
    /// The Lease is ours; who had it before was last heard of so long ago.
    Leads(Duration),
    /// It is another one's.
    Follows,
    /// Somebody has written it since it was read, whoever holds it: the next round sees.
    Overtaken,
}

/// The task and all it owns.
pub(crate) struct Campaign {
    leases: Api<Lease>,
    candidate: Candidate,
    leadership: Leadership,
    metrics: Metrics,
    /// Who held the Lease when it was last read.
    holder: Option<String>,
    warned: Option<Moment>,
    rounds: u64,
}

impl Campaign {
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        identity: String,
        leadership: Leadership,
        metrics: Metrics,
    ) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            candidate: Candidate::new(identity),
            leadership,
            metrics,
            holder: None,
            warned: None,
            rounds: 0,
        }
    }

    /// Stands for election from when `synced` says that everything is known, until it is told to leave.
    pub(crate) async fn run(mut self, mut synced: watch::Receiver<bool>, mut leave: oneshot::Receiver<()>) {
        tokio::select! {
            known = synced.wait_for(|synced| *synced) => if known.is_err() { return },
            _ = &mut leave => return,
        }
        loop {
            let pause = self.round().await;
            tokio::select! {
                () = sleep(pause) => {}
                _ = &mut leave => break,
            }
        }
        self.hand_back().await;
    }

    /// One round; says how long to wait for the next.
    async fn round(&mut self) -> Duration {
        // A term counts from before the request, so that it ends here before it ends for anybody else.
        let begun = boottime();
        let mut renewed = false;
        let outcome = match timeout(LONGEST_REQUEST, self.stand()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(LeaseError::TimedOut),
        };
        match outcome {
            Ok(Stood::Leads(unled)) => {
                if self.leadership.left().is_none() {
                    info!(identity = self.candidate.identity(), "leading");
                }
                self.leadership.hold_until(begun + RENEW_DEADLINE, unled);
                renewed = true;
            }
            Ok(Stood::Follows) => self.stand_down("another one holds the Lease"),
            Ok(Stood::Overtaken) => {}
            Err(error) => self.trouble(&error),
        }
        if self.leadership.left().is_none() {
            self.stand_down("the Lease could not be renewed in time");
        }
        let leads = self.leadership.left().is_some();
        self.metrics.leader.set(i64::from(leads));
        self.pause(if renewed { BETWEEN_RENEWALS } else { BETWEEN_LOOKS })
    }

    /// Reads the Lease, and writes it if it is ours to write.
    async fn stand(&mut self) -> Result<Stood, LeaseError> {
        let lease = self.leases.get_opt(OPERATOR).await.map_err(failed("get"))?;
        let standing = lease.as_ref().map(standing);
        // Patience counts from after the answer: nothing that its holder began before lasts longer.
        let seen = boottime();
        let how = PostParams { field_manager: Some(OPERATOR.into()), ..PostParams::default() };
        let verdict = self.candidate.judge(standing.as_ref(), seen);
        let unled = match verdict {
            Verdict::Take(silent) | Verdict::Renew(silent) => silent,
            Verdict::Make | Verdict::Leave(_) => Duration::ZERO,
        };
        let (stored, verb) = match (verdict, lease) {
            (Verdict::Leave(holder), lease) => {
                self.meet(holder, lease.as_ref());
                self.warned = None;
                return Ok(Stood::Follows);
            }
            (Verdict::Renew(_), Some(lease)) => {
                (self.leases.replace(OPERATOR, &how, &self.renewed(lease)).await, "update")
            }
            (_, Some(lease)) => (self.leases.replace(OPERATOR, &how, &self.taken(lease)).await, "update"),
            (_, None) => {
                let mut lease = Lease::default();
                lease.metadata.name = Some(OPERATOR.into());
                (self.leases.create(&how, &self.taken(lease)).await, "create")
            }
        };
        match stored {
            Ok(lease) => {
                self.meet(self.candidate.identity().to_owned(), Some(&lease));
                self.warned = None;
                Ok(Stood::Leads(unled))
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Stood::Overtaken),
            Err(error) => Err(failed(verb)(error)),
        }
    }

    /// Gives the Lease back, so that the next one need not wait until it runs out.
    async fn hand_back(&mut self) {
        self.leadership.give_up();
        self.metrics.leader.set(0);
        if self.holder.as_deref() != Some(self.candidate.identity()) {
            return;
        }
        let returned = async {
            let lease = self.leases.get_opt(OPERATOR).await.map_err(failed("get"))?;
            let Some(mut lease) = lease.filter(|lease| standing(lease).holder == self.candidate.identity()) else {
                return Ok(());
            };
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = None;
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            let how = PostParams { field_manager: Some(OPERATOR.into()), ..PostParams::default() };
            self.leases.replace(OPERATOR, &how, &lease).await.map_err(failed("update"))?;
            Ok(())
        };
        match timeout(LONGEST_REQUEST, returned).await.unwrap_or(Err(LeaseError::TimedOut)) {
            Ok(()) => info!("handed the Lease back"),
            Err(error) => warn!("the next leader has to wait until the Lease runs out: {error}"),
        }
    }

    fn stand_down(&mut self, why: &str) {
        if *self.leadership.role().borrow() != Role::Standby {
            warn!("leading no more: {why}; nothing is written until this one leads again");
        }
        self.leadership.give_up();
    }

    fn trouble(&mut self, error: &LeaseError) {
        let trouble = match error {
            LeaseError::Request { trouble, .. } => *trouble,
            LeaseError::TimedOut => Trouble::Timeout,
        };
        self.metrics.lease_failed(trouble);
        let now = boottime();
        if self.warned.is_none_or(|warned| now.since(warned) >= BETWEEN_WARNINGS) {
            self.warned = Some(now);
            warn!("{error}; it is tried again every second");
        }
    }

    fn meet(&mut self, holder: String, lease: Option<&Lease>) {
        let transitions = lease.and_then(|lease| lease.spec.as_ref()?.lease_transitions).unwrap_or_default();
        self.metrics.lease_transitions.set(transitions.into());
        if self.holder.as_ref() != Some(&holder) {
            if holder != self.candidate.identity() {
                info!(leader = %holder, "standing by");
            }
            self.holder = Some(holder);
        }
    }

    fn renewed(&self, mut lease: Lease) -> Lease {
        let spec = lease.spec.get_or_insert_default();
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        spec.lease_duration_seconds = Some(duration_seconds());
        lease
    }

    fn taken(&self, mut lease: Lease) -> Lease {
        let now = MicroTime(Timestamp::now());
        let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.candidate.identity().into()),
            lease_duration_seconds: Some(duration_seconds()),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions.map_or(0, |transitions| transitions.saturating_add(1))),
            ..LeaseSpec::default()
        });
        lease
    }

    /// The pause and up to a quarter more, so that candidates do not ask in step.
    fn pause(&mut self, pause: Duration) -> Duration {
        self.rounds = self.rounds.wrapping_add(1);
        let mut hasher = DefaultHasher::new();
        (self.candidate.identity(), self.rounds).hash(&mut hasher);
        pause.mul_f64(1.0 + (hasher.finish() % 250) as f64 / 1_000.0)
    }
}

/// What an error of the client means for a request that did this to the Lease.
fn failed(verb: &'static str) -> impl Fn(kube::Error) -> LeaseError {
    move |error| LeaseError::Request { verb, trouble: Trouble::of(&error), said: reason(&error) }
}

fn duration_seconds() -> i32 {
    i32::try_from(LEASE_DURATION.as_secs()).unwrap_or(i32::MAX)
}

fn standing(lease: &Lease) -> Standing {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    Standing {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        duration: Duration::from_secs(seconds.unwrap_or(0)),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}
