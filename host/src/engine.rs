//! The WebAssembly engine: how the component is compiled, and what it can import.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use thiserror::Error;
use wasmtime::{
    Cache, CacheConfig, Config, Engine,
    component::{Component, HasData, Linker, ResourceTable},
};
use wasmtime_wasi::{
    WasiView as _,
    cli::{WasiCli, WasiCliView as _},
    clocks::{WasiClocks, WasiClocksView as _},
    filesystem::{WasiFilesystem, WasiFilesystemView as _},
    p2::bindings as p2,
    p3,
    random::{WasiRandom, WasiRandomView as _},
};
use wasmtime_wasi_http::{
    WasiHttp, WasiHttpView as _,
    p3::bindings::{ServicePre, http},
};

use crate::{
    interfaces::{Variables, spin},
    redis::Redis,
    state::InstanceState,
};

/// How often a running instance looks whether others wait.
const EPOCH_TICK: Duration = Duration::from_millis(5);

/// Ticks that an instance may run before it gives way.
pub(crate) const EPOCH_TICKS_PER_TURN: u64 = 1;

/// A component, compiled, with all that it imports.
#[derive(Clone)]
pub struct Program(ServicePre<InstanceState>);

/// Why a file is no component that this host can run.
#[derive(Debug, Error)]
#[error("the component {}: {reason}", path.display())]
pub struct ProgramError {
    path: PathBuf,
    reason: String,
}

impl Program {
    /// Compiles a component's file, or takes what an earlier run made of it from the folder `cache`: what
    /// is there is run as it is, so nobody else may write there.
    ///
    /// # Errors
    /// If it cannot be read, is no component, handles no requests (`wasi:http/handler@0.3`), or
    /// imports what this host does not offer; or if the folder cannot be used.
    pub fn compile(path: &Path, cache: Option<&Path>) -> Result<Self, ProgramError> {
        compile(path, cache)
            .map(Self)
            .map_err(|error| ProgramError {
                path: path.to_owned(),
                reason: format!("{error:#}").replace('\n', " "),
            })
    }

    /// What makes instances of it.
    pub(crate) const fn pre(&self) -> &ServicePre<InstanceState> {
        &self.0
    }

    /// What its instances run on.
    pub(crate) fn engine(&self) -> &Engine {
        self.0.engine()
    }
}

fn compile(path: &Path, cache: Option<&Path>) -> wasmtime::Result<ServicePre<InstanceState>> {
    let engine = engine(cache)?;
    let component = Component::from_file(&engine, path)?;
    let mut linker = Linker::new(&engine);
    link_wasi(&mut linker)?;
    http::types::add_to_linker::<_, WasiHttp>(&mut linker, InstanceState::http)?;
    spin::redis::redis::add_to_linker::<_, Redis>(&mut linker, |state| &mut state.redis)?;
    spin::variables::variables::add_to_linker::<_, Variables>(&mut linker, |state| {
        &mut state.variables
    })?;
    ServicePre::new(linker.instantiate_pre(&component)?)
}

fn engine(cache: Option<&Path>) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    if let Some(folder) = cache {
        // It wants to know the folder wherever this process goes.
        let mut settings = CacheConfig::new();
        settings.with_directory(std::path::absolute(folder)?);
        config.cache(Some(Cache::new(settings)?));
    }
    config
        .wasm_component_model_async(true)
        .epoch_interruption(true)
        // A component in production has no names in it: the frames would tell nothing.
        .wasm_backtrace_max_frames(None);
    let engine = Engine::new(&config)?;
    let ticking = engine.weak();
    // A thread, since instances may keep every thread of the runtime busy.
    thread::Builder::new().name("epoch".into()).spawn(move || {
        while let Some(engine) = ticking.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(EPOCH_TICK);
        }
    })?;
    Ok(engine)
}

/// `wasi:io`, whose data are the instance's resources.
struct WasiIo;

impl HasData for WasiIo {
    type Data<'a> = &'a mut ResourceTable;
}

/// What the standard library of wasm32-wasip2 uses, and wasi 0.3's own; no sockets.
fn link_wasi(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    type State = InstanceState;
    fn table(state: &mut State) -> &mut ResourceTable {
        state.ctx().table
    }

    p2::io::error::add_to_linker::<_, WasiIo>(linker, table)?;
    p2::io::poll::add_to_linker::<_, WasiIo>(linker, table)?;
    p2::io::streams::add_to_linker::<_, WasiIo>(linker, table)?;
    p2::clocks::wall_clock::add_to_linker::<_, WasiClocks>(linker, State::clocks)?;
    p2::clocks::monotonic_clock::add_to_linker::<_, WasiClocks>(linker, State::clocks)?;
    p2::random::random::add_to_linker::<_, WasiRandom>(linker, State::random)?;
    p2::random::insecure_seed::add_to_linker::<_, WasiRandom>(linker, State::random)?;
    p2::filesystem::types::add_to_linker::<_, WasiFilesystem>(linker, State::filesystem)?;
    p2::filesystem::preopens::add_to_linker::<_, WasiFilesystem>(linker, State::filesystem)?;
    p2::cli::environment::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    p2::cli::exit::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    p2::cli::stdin::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    p2::cli::stdout::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    p2::cli::stderr::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    p2::cli::terminal_input::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    p2::cli::terminal_output::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    p2::cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    p2::cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    p2::cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, State::cli)?;

    p3::cli::add_to_linker(linker)?;
    p3::clocks::add_to_linker(linker)?;
    p3::filesystem::add_to_linker(linker)?;
    p3::random::add_to_linker(linker)
}
