//! The cache of an instance: bodies that it has read and may send again without asking Redis.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use domain::contract::record::Current;

use crate::store::StoredBody;

/// Bytes of documents that an instance caches, at most.
const MAX_BYTES: usize = 4 << 20;

/// Bytes of pages of the timeline that an instance caches, at most.
const MAX_PAGE_BYTES: usize = 1 << 20;

/// Pages that an instance caches, at most.
const MOST_PAGES: usize = 200;

/// A longer page is not cached: it would take the place of many.
const LONGEST_PAGE: usize = 64 << 10;

thread_local! {
    static BODIES: RefCell<VecDeque<CachedBody>> = const { RefCell::new(VecDeque::new()) };
    static PAGES: RefCell<VecDeque<(String, Page)>> = const { RefCell::new(VecDeque::new()) };
}

/// A page of the timeline.
#[derive(Clone)]
pub(crate) struct Page {
    /// The head's field that says where the next one is.
    pub(crate) link: Option<String>,
    /// The body.
    pub(crate) bytes: Rc<Vec<u8>>,
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

/// The page that has this entity tag, if it is cached.
pub(crate) fn page(etag: &str) -> Option<Page> {
    PAGES.with_borrow(|pages| {
        let (_, page) = pages.iter().find(|(cached, _)| cached == etag)?;
        Some(page.clone())
    })
}

/// Caches a page in place of the oldest ones, unless it is long.
pub(crate) fn put_page(etag: String, page: Page) {
    if page.bytes.len() > LONGEST_PAGE {
        return;
    }
    PAGES.with_borrow_mut(|pages| {
        pages.retain(|(cached, _)| *cached != etag);
        pages.push_back((etag, page));
        let bytes = |pages: &VecDeque<(String, Page)>| -> usize {
            pages.iter().map(|(_, page)| page.bytes.len()).sum()
        };
        while bytes(pages) > MAX_PAGE_BYTES || pages.len() > MOST_PAGES {
            pages.pop_front();
        }
    });
}
