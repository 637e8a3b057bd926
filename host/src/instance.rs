//! Instances of the component: what each may use, how they are made, when they end.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::HeaderName;
use tokio::time::{Sleep, sleep};
use wasmtime::{
    Store, StoreContextMut, StoreLimits, StoreLimitsBuilder,
    component::{GuestTaskId, ResourceTable},
};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView, cli};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx,
    WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
    handler::{
        HandlerState, Instance, Proxy, ShouldAccept, WorkerExpiration, WorkerState, WorkerStatus,
    },
};

use crate::{
    engine::{EPOCH_TICKS_PER_TURN, Program},
    manifest::{Application, Mount},
    outbound::AllowedHosts,
    redis::Connections,
    variables::Values,
};

/// Bytes of memory that one instance may use.
const MAX_MEMORY: usize = 256 << 20;

/// How instances are used again, with Spin's names and (but for the request's time) defaults.
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
}

impl Default for Reuse {
    fn default() -> Self {
        Self {
            max_instance_reuse_count: 128,
            max_instance_concurrent_reuse_count: 16,
            idle_instance_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(60),
        }
    }
}

/// What belongs to one instance, and is gone with it.
pub(crate) struct InstanceState {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoOutboundHttp,
    table: ResourceTable,
    limits: StoreLimits,
    pub(crate) redis: Connections,
    pub(crate) variables: Arc<Values>,
}

impl WasiView for InstanceState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for InstanceState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

/// The HTTP of an instance: it answers requests, and sends none.
struct NoOutboundHttp;

fn is_forbidden(name: &HeaderName) -> bool {
    DEFAULT_FORBIDDEN_HEADERS.contains(name)
}

impl WasiHttpHooks for NoOutboundHttp {
    // The default makes a filter anew for each header of each request.
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        is_forbidden(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_forbidden)
    }

    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<
        dyn Future<
                Output = Result<
                    (
                        http::Response<WasiBody>,
                        Box<dyn Future<Output = Result<(), Error>> + Send>,
                    ),
                    Error,
                >,
            > + Send,
    > {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}

/// Makes instances of the component.
pub(crate) struct Instances {
    program: Program,
    mounts: Vec<Mount>,
    allowed_hosts: Arc<AllowedHosts>,
    variables: Arc<Values>,
    reuse: Reuse,
    stopping: Arc<AtomicBool>,
}

impl Instances {
    pub(crate) fn new(program: Program, application: Application, reuse: Reuse) -> Self {
        Self {
            program,
            mounts: application.mounts,
            allowed_hosts: Arc::new(application.allowed_hosts),
            variables: Arc::new(application.variables),
            reuse,
            stopping: Arc::default(),
        }
    }

    /// From now on instances end because the host ends: no fault of theirs.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn store(&self) -> wasmtime::Result<Store<InstanceState>> {
        let mut wasi = WasiCtx::builder();
        // Standard output belongs to the host's one line.
        wasi.stdout(cli::stderr()).stderr(cli::stderr());
        for mount in &self.mounts {
            wasi.preopened_dir(&mount.source, &mount.destination, FsPerms::ReadOnly)?;
        }
        let state = InstanceState {
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            hooks: NoOutboundHttp,
            table: ResourceTable::new(),
            limits: StoreLimitsBuilder::new().memory_size(MAX_MEMORY).build(),
            redis: Connections::new(Arc::clone(&self.allowed_hosts)),
            variables: Arc::clone(&self.variables),
        };
        let mut store = Store::new(self.program.0.engine(), state);
        store.limiter(|state| &mut state.limits);
        // A busy instance gives way to the others at each tick; `request_timeout` can end it then.
        store.set_epoch_deadline(EPOCH_TICKS_PER_TURN);
        store.epoch_deadline_async_yield_and_update(EPOCH_TICKS_PER_TURN);
        Ok(store)
    }
}

impl HandlerState for Instances {
    type StoreData = InstanceState;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<InstanceState, Expiration, Worker>> {
        let mut store = self.store()?;
        let proxy = Proxy::P3(self.program.0.instantiate_async(&mut store).await?);
        Ok(Instance {
            store,
            proxy,
            view: InstanceState::http,
            expiration: Expiration {
                reuse: self.reuse,
                sleep: Box::pin(sleep(self.reuse.idle_instance_timeout)),
            },
            state: Worker {
                reuse: self.reuse,
                stopping: Arc::clone(&self.stopping),
            },
        })
    }
}

/// Ends an instance that has idled too long, or does not answer.
pub(crate) struct Expiration {
    reuse: Reuse,
    sleep: Pin<Box<Sleep>>,
}

impl WorkerExpiration for Expiration {
    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        status: WorkerStatus,
        since: Instant,
    ) -> Poll<()> {
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
    stopping: Arc<AtomicBool>,
}

impl WorkerState for Worker {
    type StoreData = InstanceState;
    type RequestData = ();

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        if total >= self.reuse.max_instance_reuse_count {
            ShouldAccept::Never
        } else if concurrent >= self.reuse.max_instance_concurrent_reuse_count {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        _store: StoreContextMut<'_, InstanceState>,
        (): (),
        _task: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        Box::pin(sleep(self.reuse.request_timeout))
    }

    fn drop(&self, store: Store<InstanceState>, result: wasmtime::Result<()>) {
        drop(store);
        if let Err(error) = result
            && !self.stopping.load(Ordering::Relaxed)
        {
            tracing::error!("an instance of the component failed: {error:#}");
        }
    }
}
