//! Work on several threads for the stages that only compute.

use std::sync::Mutex;
use std::thread;

/// Does `work` on every item, on up to `threads` threads; the results keep the items' order.
pub fn in_parallel<T: Send, R: Send>(
    threads: usize,
    items: Vec<T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    if threads < 2 || items.len() < 2 {
        return items.into_iter().map(work).collect();
    }
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let queue = Mutex::new(items.into_iter().zip(results.iter_mut()));
    let next = || queue.lock().ok()?.next();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((item, result)) = next() {
                    *result = Some(work(item));
                }
            });
        }
    });
    // Every item was taken, and a panic of `work` has already passed through the scope.
    results.into_iter().flatten().collect()
}
