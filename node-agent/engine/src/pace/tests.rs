#![allow(clippy::unwrap_used)]

use super::*;
use crate::machine::Stalls;
use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::thread::{self, ThreadId};

/// A machine whose time passes only while somebody waits or works on it.
#[derive(Clone, Default)]
struct Driven(Arc<Mutex<Told>>);

#[derive(Clone, Default)]
struct Told {
    now: Duration,
    /// Of threads that look,
    cpu: Duration,
    /// each by its own clock,
    threads: HashMap<ThreadId, Duration>,
    /// and of all others of the process.
    answering: Duration,
    /// So often a clock of processor time was asked.
    asked: u32,
    /// While one of ours works a disk is waited for.
    working: Duration,
    /// Others wait for processors, and for disks, so much of the time.
    others: f64,
    at_disks: f64,
    waited: Duration,
    longest: Duration,
}

impl Driven {
    fn told(&self) -> Told {
        self.0.lock().unwrap().clone()
    }

    fn works(&self, time: Duration, cpu: Duration) {
        let mut told = self.0.lock().unwrap();
        told.now += time;
        told.working += time;
        told.cpu += cpu;
        *told.threads.entry(thread::current().id()).or_default() += cpu;
    }

    fn answers(&self, cpu: Duration) {
        self.0.lock().unwrap().answering += cpu;
    }
}

impl Machine for Driven {
    fn since_boot(&self) -> Duration {
        self.told().now
    }

    fn cpu(&self) -> Duration {
        self.0.lock().unwrap().asked += 1;
        let Told { cpu, answering, .. } = self.told();
        cpu + answering
    }

    fn thread_cpu(&self) -> Duration {
        self.0.lock().unwrap().asked += 1;
        self.told().threads.get(&thread::current().id()).copied().unwrap_or_default()
    }

    fn stalls(&self) -> Option<Stalls> {
        let Told { now, working, others, at_disks, .. } = self.told();
        Some(Stalls { cpu: now.mul_f64(others), io: working + now.mul_f64(at_disks) })
    }

    fn wait(&self, long: Duration) {
        let mut told = self.0.lock().unwrap();
        told.now += long;
        told.waited += long;
        told.longest = told.longest.max(long);
    }
}

const MILLI: Duration = Duration::from_millis(1);

/// A pace for a thread that looks.
fn pace(budget: Budget) -> (Arc<Pace>, Driven, Charged) {
    let machine = Driven::default();
    let pace = Arc::new(Pace::new(budget, Box::new(machine.clone())));
    let charged = Charged::begin(&pace);
    (pace, machine, charged)
}

fn never() -> Stop {
    Stop::new(&Arc::default())
}

fn assert_near(is: f64, ought: f64) {
    assert!((is / ought - 1.0).abs() < 0.02, "{is} ought to be about {ought}");
}

#[test]
fn processor_time_comes_to_what_the_limit_says_however_many_work() {
    for (limit, workers) in [(0.1, 1), (0.5, 1), (0.5, 2), (1.5, 4)] {
        let (pace, machine, _charged) = pace(Budget { cpu: Some(limit), ..Budget::default() });
        while machine.told().now < Duration::from_secs(100) {
            machine.works(MILLI, MILLI * workers);
            pace.keep(&never());
        }
        let Told { cpu, now, .. } = machine.told();
        assert_near(cpu.as_secs_f64() / now.as_secs_f64(), limit);
    }
}

#[test]
fn work_below_the_limit_never_waits() {
    let (pace, machine, _charged) = pace(Budget { cpu: Some(0.5), read: Some(1000), ..Budget::default() });
    for _ in 0..10_000 {
        machine.works(MILLI * 10, MILLI * 4);
        pace.read(9);
        pace.keep(&never());
    }
    assert_eq!(machine.told().waited, Duration::ZERO);
}

#[test]
fn a_process_that_spends_elsewhere_holds_up_no_compare() {
    let (pace, machine, _charged) = pace(Budget { cpu: Some(0.5), ..Budget::default() });
    for _ in 0..10_000 {
        machine.works(MILLI * 10, MILLI * 4);
        machine.answers(MILLI * 100);
        pace.keep(&never());
    }
    assert_eq!(machine.told().waited, Duration::ZERO);
    assert_eq!(pace.usage().cpu, MILLI * 104 * 10_000, "the use that is shown is the process's");
}

#[test]
fn a_process_that_spends_elsewhere_ends_no_turn_of_a_compare_that_makes_way() {
    let share = |answering: u32| {
        let (pace, machine, _charged) = pace(Budget { is_background: true, ..Budget::default() });
        machine.0.lock().unwrap().others = 0.5;
        while machine.told().now < Duration::from_secs(100) {
            machine.works(MILLI, MILLI);
            machine.answers(MILLI * answering);
            pace.keep(&never());
        }
        machine.told().cpu
    };
    assert_eq!(share(0), share(10));
}

#[test]
fn below_a_quota_looks_leave_what_answers_take_down_to_half_of_theirs() {
    for (answering, looking) in [(0.0, 0.5), (0.1, 0.5), (0.3, 0.3), (0.35, 0.25), (0.6, 0.25), (10.0, 0.25)] {
        let budget = Budget { cpu: Some(0.5), process: Some(0.6), ..Budget::default() };
        let (pace, machine, _charged) = pace(budget);
        let mut answered = Duration::ZERO;
        while machine.told().now < Duration::from_secs(200) {
            machine.works(MILLI, MILLI);
            pace.keep(&never());
            let now = machine.told().now;
            machine.answers((now - answered).mul_f64(answering));
            answered = now;
        }
        assert_near(machine.told().cpu.as_secs_f64() / 200.0, looking);
    }
}

#[test]
fn a_flood_of_answers_is_forgotten_soon_after_its_end() {
    let (pace, machine, _charged) = pace(Budget { cpu: Some(0.5), process: Some(0.6), ..Budget::default() });
    machine.answers(Duration::from_secs(3600));
    while machine.told().now < Duration::from_secs(100) {
        machine.works(MILLI, MILLI);
        pace.keep(&never());
    }
    assert_near(machine.told().cpu.as_secs_f64() / 100.0, 0.5);
}

#[test]
fn what_walkers_spend_is_charged_once_and_what_others_spend_never() {
    let (pace, machine, charged) = pace(Budget { cpu: Some(1000.0), ..Budget::default() });
    thread::scope(|scope| {
        for walker in 1..=4u32 {
            let (pace, machine) = (&pace, &machine);
            scope.spawn(move || {
                machine.works(MILLI, MILLI * 1000);
                let _charged = pace.enlist();
                for _ in 0..100 {
                    machine.works(MILLI, MILLI * walker);
                    pace.keep(&never());
                }
                // Its last millisecond is charged at its end.
                machine.works(MILLI, MILLI * walker);
            });
        }
        scope.spawn(|| {
            machine.works(MILLI, MILLI * 1000);
            pace.keep(&never());
            pace.charge();
        });
    });
    machine.works(MILLI, MILLI * 7);
    pace.charge();
    machine.works(MILLI, MILLI * 3);
    drop(charged);
    machine.works(MILLI, MILLI * 1000);
    pace.charge();
    assert_eq!(pace.taken().cpu, MILLI * (101 * (1 + 2 + 3 + 4) + 10));
}

#[test]
fn who_looks_is_held_by_what_another_thread_took() {
    let (pace, machine, _charged) = pace(Budget { cpu: Some(0.5), ..Budget::default() });
    thread::scope(|scope| {
        scope.spawn(|| {
            let _charged = pace.enlist();
            machine.works(MILLI, MILLI * 5000);
        });
    });
    pace.keep(&never());
    assert_near(machine.told().waited.as_secs_f64(), 10.0);
}

#[test]
fn a_thread_asks_for_its_processor_time_every_few_milliseconds_only() {
    let (pace, machine, _charged) = pace(Budget { cpu: Some(1000.0), ..Budget::default() });
    let before = machine.told().asked;
    for _ in 0..1000 {
        machine.works(MILLI / 10, MILLI / 10);
        pace.keep(&never());
    }
    assert_eq!(machine.told().asked - before, 50);
}

#[test]
fn reading_comes_to_what_the_limit_says_and_pays_for_a_buffer_that_is_larger_than_a_burst() {
    let (pace, machine, _charged) = pace(Budget { read: Some(1 << 20), ..Budget::default() });
    for _ in 0..1000 {
        machine.works(MILLI, Duration::ZERO);
        pace.read(128 << 10);
        pace.keep(&never());
    }
    assert_near(machine.told().now.as_secs_f64(), 125.0);
    let usage = pace.usage();
    assert_eq!((usage.read, usage.waited[Wait::Read as usize]), (125 << 20, machine.told().waited));
}

#[test]
fn what_was_not_used_is_no_credit_for_later_but_for_a_moment() {
    let (pace, machine, _charged) = pace(Budget { cpu: Some(0.1), ..Budget::default() });
    machine.works(Duration::from_secs(3600), Duration::ZERO);
    pace.keep(&never());
    let before = machine.told();
    while machine.told().now < before.now + Duration::from_secs(10) {
        machine.works(MILLI, MILLI);
        pace.keep(&never());
    }
    assert!((machine.told().cpu - before.cpu) < Duration::from_millis(1030), "{:?}", machine.told().cpu);
}

#[test]
fn who_waits_looks_every_few_milliseconds_whether_to_stop_and_ends_at_once() {
    let (pace, machine, _charged) = pace(Budget { cpu: Some(0.01), ..Budget::default() });
    machine.works(MILLI, Duration::from_secs(1000));
    let told = Arc::new(AtomicBool::new(true));
    pace.keep(&Stop::new(&told));
    assert_eq!(machine.told().waited, Duration::ZERO);
    told.store(false, Ordering::Relaxed);
    pace.keep(&Stop::new(&told));
    let Told { waited, longest, .. } = machine.told();
    assert!(longest <= STEP, "{longest:?}");
    assert!(waited <= Duration::from_secs(61), "what is owed is bounded: {waited:?}");
}

#[test]
fn our_own_waiting_for_a_disk_is_no_reason_to_make_way() {
    let (pace, machine, _charged) = pace(Budget { is_background: true, ..Budget::default() });
    while machine.told().now < Duration::from_secs(100) {
        machine.works(MILLI, Duration::ZERO);
        pace.keep(&never());
    }
    assert!(machine.told().waited < Duration::from_secs(5), "{:?}", machine.told().waited);
}

/// A hundred seconds of work that gets so much of a core; returns how long it worked, and its processor time.
fn beside(others: f64, at_disks: f64, share: f64) -> (f64, f64) {
    let (pace, machine, _charged) = pace(Budget { is_background: true, ..Budget::default() });
    (machine.0.lock().unwrap().others, machine.0.lock().unwrap().at_disks) = (others, at_disks);
    while machine.told().now < Duration::from_secs(100) {
        machine.works(MILLI, MILLI.mul_f64(share));
        pace.keep(&never());
    }
    let Told { working, cpu, waited, .. } = machine.told();
    assert_eq!(pace.usage().waited[Wait::Pressure as usize], waited);
    (working.as_secs_f64(), cpu.as_secs_f64())
}

#[test]
fn while_others_wait_a_tenth_of_the_time_is_ours() {
    for (others, at_disks) in [(0.5, 0.0), (0.0, 0.5), (0.5, 0.5)] {
        let (working, _) = beside(others, at_disks, 1.0);
        assert!((9.0..12.5).contains(&working), "{working}");
    }
}

#[test]
fn who_makes_way_is_not_starved_where_the_scheduler_gives_little() {
    let (working, cpu) = beside(0.9, 0.0, 0.01);
    assert!(working > 90.0, "a turn lasts until it has done its work: {cpu}");
    let (_, cpu) = beside(0.9, 0.9, 0.01);
    assert!(cpu > 0.5, "half of what the scheduler gives is used, beside a busy disk too: {cpu}");
}

#[test]
fn soon_after_others_wait_no_more_all_time_is_ours() {
    let (pace, machine, _charged) = pace(Budget { is_background: true, ..Budget::default() });
    machine.0.lock().unwrap().others = 0.5;
    let until = |end| {
        while machine.told().now < end {
            machine.works(MILLI, MILLI);
            pace.keep(&never());
        }
        machine.told().waited
    };
    let busy = until(Duration::from_secs(100));
    assert!(busy > Duration::from_secs(80), "{busy:?}");
    // Nobody waits from now on: the total grows no more.
    machine.0.lock().unwrap().others = 0.0;
    let quiet = until(Duration::from_secs(200)) - busy;
    assert!(quiet < Duration::from_secs(6), "{quiet:?}");
}
