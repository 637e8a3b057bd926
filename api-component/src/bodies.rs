//! The bodies that this instance has read and may send again without asking Redis.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use domain::contract::record::Current;

use crate::store::Part;

/// What an instance keeps, at most.
const MOST_BYTES: usize = 4 << 20;

thread_local! {
    static KEPT: RefCell<VecDeque<Kept>> = const { RefCell::new(VecDeque::new()) };
}

struct Kept {
    part: Part,
    /// Beside the generation, since an emptied Redis may count those anew.
    published_at_ms: u64,
    bytes: Rc<Vec<u8>>,
}

/// The body, if this instance has it.
pub(crate) fn find(record: &Current, part: &Part) -> Option<Rc<Vec<u8>>> {
    KEPT.with_borrow(|kept| {
        let found = kept
            .iter()
            .find(|kept| kept.part == *part && kept.published_at_ms == record.published_at_ms)?;
        Some(found.bytes.clone())
    })
}

/// Keeps a body in place of the oldest ones.
pub(crate) fn keep(record: &Current, part: Part, bytes: &Rc<Vec<u8>>) {
    KEPT.with_borrow_mut(|kept| {
        // Another request may have read it meanwhile.
        kept.retain(|kept| kept.part != part);
        kept.push_back(Kept {
            part,
            published_at_ms: record.published_at_ms,
            bytes: bytes.clone(),
        });
        while kept.iter().map(|kept| kept.bytes.len()).sum::<usize>() > MOST_BYTES {
            kept.pop_front();
        }
    });
}
