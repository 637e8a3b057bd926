//! The memory of instances: bounded for each, and counted for all.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use wasmtime::ResourceLimiter;

/// Bytes of memory that one instance may use.
const MOST: usize = 256 << 20;

/// What one instance uses, and all of them together.
#[derive(Clone)]
pub(crate) struct Usage {
    own: Arc<AtomicUsize>,
    all: Arc<AtomicUsize>,
}

impl Usage {
    /// Bytes that the instance uses.
    pub(crate) fn own(&self) -> usize {
        self.own.load(Ordering::Relaxed)
    }

    /// Bytes that all instances use.
    pub(crate) fn of_all(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }
}

/// The memory of one instance, which is given back when it is dropped.
pub(crate) struct Memory(Usage);

impl Memory {
    /// That of a new instance, counted in `all` as well.
    pub(crate) fn new(all: Arc<AtomicUsize>) -> Self {
        Self(Usage {
            own: Arc::default(),
            all,
        })
    }

    pub(crate) fn usage(&self) -> Usage {
        self.0.clone()
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let is_allowed = self.0.own() + more <= MOST;
        if is_allowed {
            self.0.own.fetch_add(more, Ordering::Relaxed);
            self.0.all.fetch_add(more, Ordering::Relaxed);
        }
        Ok(is_allowed)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.all.fetch_sub(self.0.own(), Ordering::Relaxed);
    }
}
