//! Memory for large buffers in large pages: that of the report is filled in no order at all, where
//! each small page would cost a fault at first and a miss of the address cache again and again.

/// A buffer of zeros.
pub(crate) fn zeroed(bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    advise(&mut buffer);
    buffer
}

/// Asks for large pages where whole ones lie within `buffer`. Only the speed depends on it.
#[cfg(target_os = "linux")]
fn advise(buffer: &mut [u8]) {
    use rustix::mm::{Advice, madvise};

    /// Of the usual processors.
    const PAGE: usize = 2 << 20;

    let start = buffer.as_mut_ptr();
    let skipped = start.align_offset(PAGE);
    let bytes = buffer.len().saturating_sub(skipped) / PAGE * PAGE;
    if bytes > 0 {
        // SAFETY: the range lies within `buffer`, and `MADV_HUGEPAGE` never changes what memory
        // contains (madvise(2)).
        #[allow(unsafe_code)]
        let _ = unsafe {
            madvise(
                start.wrapping_add(skipped).cast(),
                bytes,
                Advice::LinuxHugepage,
            )
        };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_: &mut [u8]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_every_size_are_zero() {
        for bytes in [0, 1, 4096, 2 << 20, (4 << 20) - 1, 9 << 20] {
            let buffer = zeroed(bytes);
            assert_eq!(buffer.len(), bytes);
            assert!(buffer.iter().all(|byte| *byte == 0));
        }
    }
}
