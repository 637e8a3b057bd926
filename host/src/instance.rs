//! Instances of the component: how they are made, how many requests each takes, when they end.

use std::{
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    task::yield_now,
    time::{Sleep, sleep},
};
use tracing::Level;
use wasmtime::{Store, StoreContextMut, UpdateDeadline, component::GuestTaskId};
use wasmtime_wasi_http::{
    WasiHttpView,
    handler::{
        HandlerState, Instance, Proxy, ShouldAccept, WorkerExpiration, WorkerState, WorkerStatus,
    },
};

use crate::{
    connections::Permit,
    engine::{EPOCH_TICKS_PER_TURN, Program},
    errors,
    manifest::{Application, Mount},
    memory::{Memory, Usage},
    outbound::AllowedHosts,
    state::InstanceState,
    variables::Values,
};

/// Bytes of memory that all instances may use together before those that use much take on no more
/// requests. A component's memory only ever grows: it is the end of an instance that gives it back.
const MEMORY_OF_ALL: usize = 160 << 20;

/// Bytes of memory that are not much for an instance.
const LITTLE_MEMORY: usize = 8 << 20;

/// Turns in a row that an instance has to use up to count as one that computes: an answer takes a part of one.
const TURNS_OF_COMPUTING: u32 = 2;

/// How long instances take one request at a time after one was seen to compute.
const AFTER_COMPUTING: Duration = Duration::from_secs(10);

/// How instances are used again, with Spin's names, and its defaults but for the request's time and the 128 requests: a
/// new instance costs its first request a millisecond or two, which was the p99 of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// Requests that one instance answers before it is dropped.
    pub max_instance_reuse_count: usize,
    /// Requests that one instance answers at a time.
    pub max_instance_concurrent_reuse_count: usize,
    /// How long an instance without requests is kept.
    pub idle_instance_timeout: Duration,
    /// How long an instance may take to begin its answer to a request.
    pub request_timeout: Duration,
    /// How long an instance takes requests on, however many they are. What it has read of its
    /// settings is no older.
    pub max_instance_age: Duration,
}

impl Default for Reuse {
    fn default() -> Self {
        Self {
            max_instance_reuse_count: 1000,
            max_instance_concurrent_reuse_count: 16,
            idle_instance_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(60),
            max_instance_age: Duration::from_secs(60),
        }
    }
}

/// Makes instances of the component. Clones make them within the same bounds.
#[derive(Clone)]
pub(crate) struct Instances {
    program: Program,
    mounts: Arc<[Mount]>,
    allowed_hosts: Arc<AllowedHosts>,
    variables: Arc<Values>,
    reuse: Reuse,
    stopping: Arc<AtomicBool>,
    /// The bytes of memory that all instances use.
    memory: Arc<AtomicUsize>,
    computing: Arc<Computing>,
    /// Each instance has a weak reference to it.
    made: Arc<()>,
}

impl Instances {
    pub(crate) fn new(program: Program, application: Application, reuse: Reuse) -> Self {
        Self {
            program,
            mounts: application.mounts.into(),
            allowed_hosts: Arc::new(application.allowed_hosts),
            variables: Arc::new(application.variables),
            reuse,
            stopping: Arc::default(),
            memory: Arc::default(),
            computing: Arc::new(Computing::new()),
            made: Arc::default(),
        }
    }

    /// How many instances there are.
    pub(crate) fn count(&self) -> usize {
        Arc::weak_count(&self.made)
    }

    /// Bytes of memory that they use together.
    pub(crate) fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// From now on instances end because the host ends: no fault of theirs.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn store(&self, turn_ended: Arc<AtomicBool>) -> wasmtime::Result<Store<InstanceState>> {
        let state = InstanceState::new(
            &self.mounts,
            Arc::clone(&self.allowed_hosts),
            Arc::clone(&self.variables),
            Memory::new(Arc::clone(&self.memory)),
        )?;
        let mut store = Store::new(self.program.engine(), state);
        store.limiter(InstanceState::limits);
        // A busy instance gives way to the others at each tick; `request_timeout` can end it then.
        store.set_epoch_deadline(EPOCH_TICKS_PER_TURN);
        store.epoch_deadline_callback(move |_| {
            turn_ended.store(true, Ordering::Relaxed);
            let others_first = Box::pin(yield_now());
            Ok(UpdateDeadline::YieldCustom(
                EPOCH_TICKS_PER_TURN,
                others_first,
            ))
        });
        Ok(store)
    }
}

impl HandlerState for Instances {
    type StoreData = InstanceState;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<InstanceState, Expiration, Worker>> {
        let turn_ended = Arc::<AtomicBool>::default();
        let mut store = self.store(Arc::clone(&turn_ended))?;
        let memory = store.data().memory();
        let proxy = Proxy::P3(self.program.pre().instantiate_async(&mut store).await?);
        Ok(Instance {
            store,
            proxy,
            view: InstanceState::http,
            expiration: Expiration {
                reuse: self.reuse,
                sleep: Box::pin(sleep(self.reuse.idle_instance_timeout)),
                turn_ended,
                turns: 0,
                computing: Arc::clone(&self.computing),
            },
            state: Worker {
                reuse: self.reuse,
                made: Instant::now(),
                memory,
                computing: Arc::clone(&self.computing),
                stopping: Arc::clone(&self.stopping),
                _made: Arc::downgrade(&self.made),
            },
        })
    }
}

/// When an instance was last seen to compute for long: while it does, nothing goes on that it has been given
/// beside that.
struct Computing {
    began: Instant,
    /// Milliseconds from then on to when this no longer counts.
    over: AtomicU64,
}

impl Computing {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            over: AtomicU64::new(0),
        }
    }

    /// An instance computes.
    fn seen(&self) {
        let over = self.began.elapsed() + AFTER_COMPUTING;
        let over = u64::try_from(over.as_millis()).unwrap_or(u64::MAX);
        self.over.store(over, Ordering::Relaxed);
    }

    /// Whether one did lately.
    fn is_likely(&self) -> bool {
        self.began.elapsed() < Duration::from_millis(self.over.load(Ordering::Relaxed))
    }
}

/// Ends an instance that has idled too long, or does not answer, and notices one that computes.
pub(crate) struct Expiration {
    reuse: Reuse,
    sleep: Pin<Box<Sleep>>,
    /// Set when the instance has used up a turn.
    turn_ended: Arc<AtomicBool>,
    /// Turns that it has used up one after the other.
    turns: u32,
    computing: Arc<Computing>,
}

impl WorkerExpiration for Expiration {
    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        status: WorkerStatus,
        since: Instant,
    ) -> Poll<()> {
        self.turns = match self.turn_ended.swap(false, Ordering::Relaxed) {
            true => self.turns.saturating_add(1),
            false => 0,
        };
        if self.turns >= TURNS_OF_COMPUTING {
            self.computing.seen();
        }
        let timeout = match status {
            WorkerStatus::Idle => self.reuse.idle_instance_timeout,
            WorkerStatus::Requests => self.reuse.request_timeout,
            // It streams a body: the connection's own time limit ends that.
            WorkerStatus::PostReturn => return Poll::Pending,
        };
        let Some(deadline) = since.checked_add(timeout) else {
            return Poll::Pending;
        };
        if self.sleep.deadline() != deadline.into() {
            self.sleep.as_mut().reset(deadline.into());
        }
        self.sleep.as_mut().poll(context)
    }
}

/// Decides how many requests an instance takes.
pub(crate) struct Worker {
    reuse: Reuse,
    made: Instant,
    memory: Usage,
    computing: Arc<Computing>,
    stopping: Arc<AtomicBool>,
    /// Counts it as long as it is there.
    _made: Weak<()>,
}

impl WorkerState for Worker {
    type StoreData = InstanceState;
    /// Given back once the request is answered.
    type RequestData = Permit;

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        let is_large = self.memory.own() > LITTLE_MEMORY && self.memory.of_all() > MEMORY_OF_ALL;
        let is_old = self.made.elapsed() > self.reuse.max_instance_age;
        // A new one answers at least one request.
        let may_end = total > 0 && (is_large || is_old);
        // Whatever it is given beside a computation has to wait for that.
        let at_a_time = match self.computing.is_likely() {
            true => 1,
            false => self.reuse.max_instance_concurrent_reuse_count,
        };
        if total >= self.reuse.max_instance_reuse_count || may_end {
            ShouldAccept::Never
        } else if concurrent >= at_a_time {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        _store: StoreContextMut<'_, InstanceState>,
        permit: Permit,
        _task: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        let timeout = sleep(self.reuse.request_timeout);
        Box::pin(async move {
            timeout.await;
            drop(permit);
        })
    }

    fn drop(&self, store: Store<InstanceState>, result: wasmtime::Result<()>) {
        drop(store);
        if let Err(error) = result
            && !self.stopping.load(Ordering::Relaxed)
        {
            errors::tell(
                Level::ERROR,
                &format!("an instance of the component failed: {error:#}"),
            );
        }
    }
}
