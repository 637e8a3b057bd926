//! What one instance of the component has: the resources of its interfaces, and their bounds.

use std::sync::Arc;

use http::HeaderName;
use wasmtime::{ResourceLimiter, component::ResourceTable};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx,
    WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::{
    guest_log::GuestLog,
    manifest::Mount,
    memory::{Memory, Usage},
    outbound::AllowedHosts,
    redis::Connections,
    variables::Values,
};

/// What belongs to one instance, and is gone with it.
pub(crate) struct InstanceState {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoOutboundHttp,
    table: ResourceTable,
    memory: Memory,
    pub(crate) redis: Connections,
    pub(crate) variables: Arc<Values>,
}

impl InstanceState {
    /// That of a new instance, which may read `mounts` and reach `allowed_hosts`.
    pub(crate) fn new(
        mounts: &[Mount],
        allowed_hosts: Arc<AllowedHosts>,
        variables: Arc<Values>,
        memory: Memory,
    ) -> wasmtime::Result<Self> {
        let mut wasi = WasiCtx::builder();
        let log = GuestLog::default();
        wasi.stdout(log.clone()).stderr(log);
        for mount in mounts {
            wasi.preopened_dir(&mount.source, &mount.destination, FsPerms::ReadOnly)?;
        }
        Ok(Self {
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            hooks: NoOutboundHttp,
            table: ResourceTable::new(),
            memory,
            redis: Connections::new(allowed_hosts),
            variables,
        })
    }

    /// What it uses of memory.
    pub(crate) fn memory(&self) -> Usage {
        self.memory.usage()
    }

    /// The bound on its memory.
    pub(crate) fn limits(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.memory
    }
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
