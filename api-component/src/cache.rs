//! The cache of an instance: bodies that it has read and may send again without asking Redis.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use domain::contract::record::Current;

use crate::store::StoredBody;

/// Bytes that an instance caches, at most.
const MAX_BYTES: usize = 4 << 20;

thread_local! {
    static BODIES: RefCell<VecDeque<CachedBody>> = const { RefCell::new(VecDeque::new()) };
}

struct CachedBody {
    body: StoredBody,
    /// Beside the generation, since an emptied Redis may count those anew.
    published_at_ms: u64,
    bytes: Rc<Vec<u8>>,
}

/// The body, if it is cached.
pub(crate) fn get(record: &Current, body: &StoredBody) -> Option<Rc<Vec<u8>>> {
    BODIES.with_borrow(|cached| {
        let found = cached.iter().find(|cached| {
            cached.body == *body && cached.published_at_ms == record.published_at_ms
        })?;
        Some(found.bytes.clone())
    })
}

/// Caches a body in place of the oldest ones.
pub(crate) fn put(record: &Current, body: StoredBody, bytes: &Rc<Vec<u8>>) {
    BODIES.with_borrow_mut(|cached| {
        // Another request may have read it meanwhile.
        cached.retain(|cached| cached.body != body);
        cached.push_back(CachedBody {
            body,
            published_at_ms: record.published_at_ms,
            bytes: bytes.clone(),
        });
        while cached
            .iter()
            .map(|cached| cached.bytes.len())
            .sum::<usize>()
            > MAX_BYTES
        {
            cached.pop_front();
        }
    });
}
