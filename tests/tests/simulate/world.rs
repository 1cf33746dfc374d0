//! What all processes of a run share: the store, the broker, the clock, the history; and who lives.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gristmill_broker::testing::simulated::{self, Life, Simulated, Weather};
use gristmill_broker::{Broker, InProcess};
use gristmill_core::id::{BatchId, JobId};
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::reference::{Clock, ReferenceStore};
use gristmill_store::{CompleteReport, Completion, ReconcileReport, RescueReport, StoreHandle};
use gristmill_testkit::Random;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::faulty::{FaultRates, Faulty};
use crate::figures::Figures;
use crate::history::History;
use crate::plan::{Case, Mutant, Plan};

/// A stalled process loses its connection to the broker after two heartbeats.
const HEARTBEATS: Duration = Duration::from_secs(20);

/// One incarnation of a process. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    /// Such as `worker 2/3`: the third life of the second worker.
    pub(crate) name: String,
    pub(crate) life: Life,
    pub(crate) gone: Arc<Notify>,
    link: simulated::Connection,
}

/// Everything that a run consists of.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) case: Case,
    pub(crate) plan: Plan,
    /// Without any trouble: for the oracle.
    pub(crate) store: StoreHandle,
    pub(crate) clock: Clock,
    pub(crate) broker: Simulated,
    history: Mutex<History>,
    figures: Mutex<Figures>,
    trouble: Mutex<FaultRates>,
    people: Mutex<BTreeMap<String, Process>>,
    stops: Mutex<BTreeMap<String, CancellationToken>>,
    ids: Mutex<u128>,
    calm: AtomicBool,
    /// The process and the call at which it shall die, once.
    doom: Mutex<Option<Doom>>,
    pub(crate) work: Mutex<Work>,
    /// When somebody was killed last, and what ran there.
    killed: Mutex<Option<(Instant, Vec<JobId>)>>,
}

/// What creators have been promised.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) batches: Vec<PlannedBatch>,
    pub(crate) jobs: Vec<PlannedJob>,
    /// Events that the store has said that it has, with their streams, in the order in which it said so.
    pub(crate) events: Vec<(String, String)>,
}

/// A batch that somebody wanted.
#[derive(Debug, Clone)]
pub(crate) struct PlannedBatch {
    pub(crate) key: String,
    /// Known once the store has said so.
    pub(crate) id: Option<BatchId>,
    /// How many items there are in all.
    pub(crate) items: u64,
    /// Whether the store has said that it is sealed.
    pub(crate) sealed: bool,
}

/// A job that somebody wanted.
#[derive(Debug, Clone)]
pub(crate) struct PlannedJob {
    pub(crate) key: String,
    pub(crate) id: Option<JobId>,
}

/// When the one kill of a calm story happens.
#[derive(Debug, Clone)]
pub(crate) struct Doom {
    pub(crate) process: String,
    pub(crate) call: &'static str,
    pub(crate) after: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new(case: Case, random: &mut Random) -> Arc<Self> {
        let plan = Plan::of(&case, random);
        // A spring morning in 2020: before any id that the product makes by the real clock.
        let clock = Clock::new(chrono::DateTime::from_timestamp(1_590_000_000, 0).expect("an instant"));
        let mut store = ReferenceStore::new(clock.clone(), random.draw(), plan.dispatcher);
        if let Some(Mutant::Without(clause)) = case.mutant {
            store = store.without(clause);
        }
        let broker = Simulated::new(random.fork());
        broker.weather(plan.weather);
        broker.vices(plan.vices);
        Arc::new(Self {
            case,
            plan,
            store: Arc::new(store),
            clock,
            broker,
            history: Mutex::new(History::new(case.told, case.story.is_calm())),
            figures: Mutex::default(),
            trouble: Mutex::new(plan.trouble),
            people: Mutex::default(),
            stops: Mutex::default(),
            killed: Mutex::default(),
            ids: Mutex::new(0),
            calm: AtomicBool::new(false),
            doom: Mutex::default(),
            work: Mutex::default(),
        })
    }

    // ---- processes -----------------------------------------------------------------------

    /// A new incarnation. Whoever bore that name before is no more.
    pub(crate) fn process(&self, name: &str, number: u64) -> Process {
        let life = Life::default();
        let link = self.broker.connect(life.clone());
        let process = Process { name: format!("{name}/{number}"), life, gone: Arc::default(), link };
        lock(&self.people).insert(name.to_owned(), process.clone());
        self.note(&process, "begins", None, 0);
        process
    }

    /// What the process sees of store and broker.
    pub(crate) fn ground(self: &Arc<Self>, process: &Process, random: &mut Random) -> (StoreHandle, Dispatcher) {
        let store = Faulty::open(self, process, random.fork());
        let broker = if self.plan.dispatcher {
            Broker::from(process.link.clone())
        } else {
            Broker::InProcess(InProcess::default())
        };
        let dispatcher = Dispatcher::new(Arc::clone(&store), broker, self.plan.window);
        (store, dispatcher)
    }

    /// Those that live, by name.
    pub(crate) fn living(&self, role: &str) -> Vec<Process> {
        let living = |(name, process): (&String, &Process)| {
            (name.starts_with(role) && process.life.lasts()).then(|| process.clone())
        };
        lock(&self.people).iter().filter_map(living).collect()
    }

    pub(crate) fn kill(&self, process: &Process) {
        if !process.life.lasts() {
            return;
        }
        self.note(process, "is killed", None, 0);
        self.count(|figures| figures.crashes += 1);
        process.life.end();
        let held = self.history(|history| {
            history.killed(&process.name);
            history.held_by(&process.name)
        });
        *lock(&self.killed) = Some((Instant::now(), held));
        self.broker.disconnect(&process.link);
        process.gone.notify_one();
    }

    /// When somebody was killed last, and the jobs that ran there.
    pub(crate) fn killed(&self) -> Option<(Instant, Vec<JobId>)> {
        lock(&self.killed).clone()
    }

    /// Whether jobs run there.
    pub(crate) fn is_busy(&self, process: &Process) -> bool {
        self.history(|history| !history.held_by(&process.name).is_empty())
    }

    /// A process has ended by itself.
    pub(crate) fn leave(&self, process: &Process) {
        self.broker.disconnect(&process.link);
    }

    /// What asks the bearer of that name to end by itself.
    pub(crate) fn stops(&self, name: &str, stop: &CancellationToken) {
        lock(&self.stops).insert(name.to_owned(), stop.clone());
    }

    /// Asks a process to end by itself, if it is one that can.
    pub(crate) fn stop(&self, process: &Process) {
        let name = process.name.split('/').next().unwrap_or_default();
        if let Some(stop) = lock(&self.stops).get(name) {
            self.note(process, "is asked to stop", None, 0);
            self.count(|figures| figures.stops += 1);
            stop.cancel();
        }
    }

    pub(crate) fn stall(&self, process: &Process, length: Duration) {
        self.note(process, "is stalled", None, length.as_millis() as u64);
        self.count(|figures| figures.stalls += 1);
        process.life.stall(Instant::now() + length);
        if length > HEARTBEATS {
            self.broker.disconnect(&process.link);
        }
    }

    // ---- trouble -------------------------------------------------------------------------

    pub(crate) fn trouble(&self) -> FaultRates {
        *lock(&self.trouble)
    }

    /// The storm is over: nothing goes wrong by itself any more.
    pub(crate) fn calm_down(&self) {
        *lock(&self.trouble) = FaultRates::default();
        self.broker.weather(Weather::default());
        self.broker.back();
        self.calm.store(true, Ordering::Relaxed);
        self.tell("the storm is over", 0);
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub(crate) fn doom(&self, doom: Doom) {
        *lock(&self.doom) = Some(doom);
    }

    /// Whether this is the call at which the process dies, as a calm story wants it.
    pub(crate) fn kills_now(&self, process: &Process, call: &str) -> bool {
        let mut doom = lock(&self.doom);
        let Some(found) = &mut *doom else { return false };
        if !process.name.starts_with(&found.process) || found.call != call {
            return false;
        }
        if found.after > 0 {
            found.after -= 1;
            return false;
        }
        *doom = None;
        true
    }

    // ---- what is written down ------------------------------------------------------------

    pub(crate) fn history<T>(&self, look: impl FnOnce(&mut History) -> T) -> T {
        look(&mut lock(&self.history))
    }

    pub(crate) fn note(&self, process: &Process, what: &str, about: Option<Uuid>, number: u64) {
        self.history(|history| history.note(&process.name, what, about, number));
    }

    /// What nobody in particular did.
    pub(crate) fn tell(&self, what: &str, number: u64) {
        self.history(|history| history.note("-", what, None, number));
    }

    pub(crate) fn violation(&self, what: String) {
        self.history(|history| history.violation(what));
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Figures)) {
        count(&mut lock(&self.figures));
    }

    pub(crate) fn figures(&self) -> Figures {
        *lock(&self.figures)
    }

    pub(crate) fn completed(&self, process: &Process, completions: &[Completion], report: &CompleteReport) {
        self.history(|history| history.completed(&process.name, completions, &report.fenced));
        self.count(|figures| figures.fenced += report.fenced.len() as u64);
        for progress in &report.progress {
            if !progress.counts.reconcile() {
                self.violation(format!("counts do not reconcile: {:?}", progress.counts));
            }
        }
    }

    pub(crate) fn rescued(&self, process: &Process, report: &RescueReport) {
        let rescued = report.requeued + report.dead;
        if rescued > 0 {
            self.note(process, "rescues", None, rescued);
            self.count(|figures| figures.rescued += rescued);
        }
    }

    /// The store repairs by itself what no transition should ever have broken.
    pub(crate) fn reconciled(&self, report: &ReconcileReport) {
        for finding in &report.findings {
            self.violation(format!("the reconciler has found something: {}", self.without_ids(finding)));
        }
    }

    fn without_ids(&self, text: &str) -> String {
        let word = |word: &str| match word.parse::<Uuid>() {
            Ok(id) => format!("#{}", self.history(|history| history.name(id))),
            Err(_) => word.to_owned(),
        };
        text.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }

    /// An id that is the same in every run of the seed, and sorts by its making.
    pub(crate) fn id(&self) -> Uuid {
        let mut ids = lock(&self.ids);
        *ids += 1;
        Uuid::from_u128(*ids)
    }

    pub(crate) fn work<T>(&self, look: impl FnOnce(&mut Work) -> T) -> T {
        look(&mut lock(&self.work))
    }
}
