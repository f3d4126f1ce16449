//! When to compare: intervals on the boot clock, configurations as they come, and another try after a fault.
//!
//! One thread owns the engine. It reads commands, and tells an [`Observer`] what stands after each commit; it never
//! ends by itself.

use crate::anchor::Anchor;
use crate::commit::Identity;
use crate::engine::{Engine, EngineError, Outcome, Standing, Summary};
use crate::plan::Due;
use crate::progress::Progress;
use crate::store::StoreError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use vedette_crds::node_config::NodeRule;
use xxhash_rust::xxh3::xxh3_64;

/// After a fault the next try is made this much later.
const RETRY: Duration = Duration::from_secs(5);

/// The operating system's timers take no longer one.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What is told as it happens; called on the driver's thread, so it must not wait.
pub trait Observer: Send {
    /// Something was committed, or a configuration came into force.
    fn stands(&mut self, standing: &Standing);
    /// A compare came to its end. The flag says that it took longer than its interval.
    fn compared(&mut self, summary: &Summary, overrun: bool);
    /// A compare or commit failed and will be tried again.
    fn failed(&mut self, error: &EngineError);
}

/// What to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// As the operator compiled them.
    pub rules: Vec<NodeRule>,
    /// Whom records name.
    pub identity: Identity,
    /// What [`Standing::generation`] says once it is in force.
    pub generation: i64,
    /// Kept in the state for the next start, when there is something to keep.
    pub remember: Option<Vec<u8>>,
}

enum Command {
    Configure(Box<Configuration>),
    HoldAgainst(Anchor),
    /// A large file was read aside.
    Commit,
    Shutdown,
}

/// The running engine.
pub struct Driver {
    handle: Handle,
    progress: Arc<Progress>,
    thread: JoinHandle<Engine>,
}

/// Tells a running engine what to compare.
#[derive(Clone)]
pub struct Handle {
    commands: Sender<Command>,
    stop: Arc<AtomicBool>,
}

impl Handle {
    /// Puts a configuration into force: a compare under way ends at its next directory and all is compared anew.
    pub fn configure(&self, configuration: Configuration) {
        self.send(Command::Configure(Box::new(configuration)));
    }

    /// Holds the state against an anchor before anything is compared again.
    pub fn hold_against(&self, anchor: Anchor) {
        self.send(Command::HoldAgainst(anchor));
    }

    fn send(&self, command: Command) {
        // A thread that is gone takes no commands; who waits for it sees its panic in `Driver::shutdown`.
        if self.commands.send(command).is_ok() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl Driver {
    /// Starts the thread; nothing is compared before the first configuration.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(
        mut engine: Engine,
        clock: Arc<dyn crate::clock::Clock>,
        observer: Box<dyn Observer>,
    ) -> std::io::Result<Self> {
        let (commands, received) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let progress = engine.progress();
        let wake = commands.clone();
        // Nobody takes it only after the end.
        engine.read_large_files_aside(move || drop(wake.send(Command::Commit)));
        let driving = Driving {
            engine,
            clock,
            observer,
            commands: received,
            stop: Arc::clone(&stop),
            schedule: Schedule::default(),
            is_announced: false,
            unremembered: None,
        };
        let thread = std::thread::Builder::new().name("engine".into()).spawn(move || driving.run())?;
        Ok(Self { handle: Handle { commands, stop }, progress, thread })
    }

    /// What tells the engine its configurations.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// How far the compare under way is.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Ends the compare under way and gives the engine back.
    ///
    /// # Panics
    /// When the thread panicked; its panic goes on here.
    pub fn shutdown(self) -> Engine {
        self.handle.send(Command::Shutdown);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

struct Driving {
    engine: Engine,
    clock: Arc<dyn crate::clock::Clock>,
    observer: Box<dyn Observer>,
    commands: Receiver<Command>,
    stop: Arc<AtomicBool>,
    schedule: Schedule,
    /// Whether the journal says that watching began.
    is_announced: bool,
    /// What is still to be kept for the next start.
    unremembered: Option<Vec<u8>>,
}

impl Driving {
    fn run(mut self) -> Engine {
        loop {
            // Lowered before the queue is read: a command that comes later raises it again.
            self.stop.store(false, Ordering::Relaxed);
            while let Ok(command) = self.commands.try_recv() {
                if !self.obey(command) {
                    return self.engine;
                }
            }
            let now = self.clock.since_boot();
            let due = self.schedule.due(now);
            if due.is_empty() {
                let wait = self.schedule.next().map_or(Duration::MAX, |next| next.saturating_sub(now));
                if !self.wait(wait.min(LONGEST_WAIT)) {
                    return self.engine;
                }
                continue;
            }
            if !self.compare(due) {
                return self.engine;
            }
        }
    }

    /// Returns false when told to end.
    fn compare(&mut self, due: Vec<Duration>) -> bool {
        if !self.is_announced {
            match self.engine.announce_start() {
                Ok(()) => self.is_announced = true,
                Err(error) => {
                    let error = error.into();
                    self.observer.failed(&error);
                    return self.recover(&error);
                }
            }
        }
        let Self { engine, observer, stop, .. } = self;
        let outcome = engine.compare(&Due::Intervals(due.clone()), stop, &mut |standing| observer.stands(standing));
        match outcome {
            Ok(Outcome::Complete(summary)) => {
                let overrun = self.schedule.completed(&due, self.clock.since_boot());
                self.remember();
                self.observer.compared(&summary, overrun);
                true
            }
            Ok(Outcome::Interrupted) => true,
            Err(error) => {
                self.observer.failed(&error);
                self.recover(&error)
            }
        }
    }

    fn recover(&mut self, error: &EngineError) -> bool {
        if !self.wait(RETRY) {
            return false;
        }
        if matches!(error, EngineError::Store(StoreError::Io { .. }))
            && let Err(error) = self.engine.recover()
        {
            self.observer.failed(&error.into());
        }
        true
    }

    /// Waits for a command; returns false when told to end.
    fn wait(&mut self, longest: Duration) -> bool {
        match self.commands.recv_timeout(longest) {
            Ok(command) => self.obey(command),
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        }
    }

    /// Returns false when told to end.
    fn commit_read(&mut self) -> bool {
        let Self { engine, observer, .. } = self;
        match engine.commit_read(&mut |standing| observer.stands(standing)) {
            Ok(()) => true,
            Err(error) => {
                self.observer.failed(&error);
                self.recover(&error)
            }
        }
    }

    /// Again after each compare, until it is kept: a full disk refuses it as long as it is full.
    fn remember(&mut self) {
        let Some(bytes) = self.unremembered.take() else { return };
        if let Err(error) = self.engine.remember(&bytes) {
            self.unremembered = Some(bytes);
            self.observer.failed(&error.into());
        }
    }

    /// Returns false when told to end.
    fn obey(&mut self, command: Command) -> bool {
        let configuration = match command {
            Command::Configure(configuration) => configuration,
            Command::HoldAgainst(anchor) => {
                self.engine.hold_against(anchor);
                return true;
            }
            Command::Commit => return self.commit_read(),
            Command::Shutdown => return false,
        };
        let Configuration { rules, identity, generation, remember } = *configuration;
        self.unremembered = remember.or(self.unremembered.take());
        self.remember();
        let offset = identity.node_uid.as_ref().unwrap_or(&identity.node);
        self.schedule.reset(xxh3_64(offset.as_bytes()));
        self.engine.configure(rules, identity, generation);
        self.schedule.set(self.engine.intervals());
        self.observer.stands(&self.engine.standing());
        true
    }
}

/// When each interval is due next, on the boot clock.
#[derive(Debug, Default)]
struct Schedule {
    next: BTreeMap<Duration, Duration>,
    /// Spreads the nodes of a cluster over an interval.
    offset: u64,
}

impl Schedule {
    fn reset(&mut self, offset: u64) {
        self.next.clear();
        self.offset = offset;
    }

    /// Makes all of these intervals due now. Without any, one compare is due, so that what left watch is forgotten.
    fn set(&mut self, intervals: Vec<Duration>) {
        self.next = intervals.into_iter().map(|interval| (interval, Duration::ZERO)).collect();
        if self.next.is_empty() {
            self.next.insert(Duration::MAX, Duration::ZERO);
        }
    }

    fn due(&self, now: Duration) -> Vec<Duration> {
        self.next.iter().filter(|(_, next)| **next <= now).map(|(interval, _)| *interval).collect()
    }

    fn next(&self) -> Option<Duration> {
        self.next.values().min().copied()
    }

    /// Sets when these intervals are due again, and says whether one of them is late already.
    fn completed(&mut self, due: &[Duration], now: Duration) -> bool {
        let mut late = false;
        for interval in due {
            let Some(next) = self.next.get_mut(interval) else { continue };
            late |= *next != Duration::ZERO && next.saturating_add(*interval) <= now;
            *next = tick_after(now, *interval, self.offset);
        }
        late
    }
}

/// The first tick of an interval's grid after `now`; the grid is moved by the node's own offset.
fn tick_after(now: Duration, interval: Duration, offset: u64) -> Duration {
    let (Ok(period), Ok(now)) = (u64::try_from(interval.as_nanos()), u64::try_from(now.as_nanos())) else {
        return Duration::MAX;
    };
    let shift = offset % period.max(1);
    let ticks = now.saturating_sub(shift) / period.max(1) + u64::from(now >= shift);
    Duration::from_nanos(shift.saturating_add(ticks.saturating_mul(period)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_tick_lies_within_one_interval() {
        let interval = Duration::from_secs(10);
        for offset in [0, 3, 7_000_000_000, u64::MAX] {
            for now in [0u64, 1, 9_999_999_999, 10_000_000_000, 123_456_789_012] {
                let now = Duration::from_nanos(now);
                let next = tick_after(now, interval, offset);
                assert!(next > now && next <= now + interval, "{now:?} {offset} {next:?}");
            }
        }
    }

    #[test]
    fn all_intervals_are_due_at_a_new_configuration_and_then_each_at_its_own_tick() {
        let (short, long) = (Duration::from_secs(10), Duration::from_secs(3600));
        let mut schedule = Schedule::default();
        schedule.set(vec![short, long]);
        assert_eq!(schedule.due(Duration::from_secs(5)), [short, long]);
        assert!(!schedule.completed(&[short, long], Duration::from_secs(5)));
        assert_eq!(schedule.due(Duration::from_secs(11)), [short]);
        assert!(schedule.completed(&[short], Duration::from_secs(35)), "it came to its end two ticks later");
        assert!(schedule.due(Duration::from_secs(36)).is_empty());
    }
}
