//! A clock that a test can set (on Linux): preloaded into a program (`LD_PRELOAD`), it shifts what that is told
//! of the time of day by as many seconds as the first eight bytes of the file `TEST_CLOCK` say.
//!
//! Only the time of day is shifted, as it is when a machine's clock is set; the monotonic clock goes
//! on. It may be called before anything of the program runs, from its allocator, say: so nothing here
//! allocates, and the kernel is asked without the library that is stood in for.

#![cfg(target_os = "linux")]
// These functions take the places of the C library's own.
#![allow(unsafe_code)]

use std::ptr::null_mut;
use std::sync::atomic::{AtomicI64, AtomicPtr, Ordering};

use libc::{clockid_t, time_t, timespec, timeval};

/// Where the test writes the shift; null until the file has been mapped.
static SHIFT: AtomicPtr<AtomicI64> = AtomicPtr::new(null_mut());

/// The shift in seconds; none without the file.
fn shift() -> i64 {
    let mut place = SHIFT.load(Ordering::Acquire);
    if place.is_null() {
        place = map();
        SHIFT.store(place, Ordering::Release);
    }
    if place.is_null() {
        return 0;
    }
    // SAFETY: eight bytes of a file that is mapped as long as this process lives.
    unsafe { (*place).load(Ordering::Relaxed) }
}

fn map() -> *mut AtomicI64 {
    // SAFETY: calls of the C library with arguments that it is made for; what they answer is checked.
    unsafe {
        let path = libc::getenv(c"TEST_CLOCK".as_ptr());
        if path.is_null() {
            return null_mut();
        }
        let file = libc::open(path, libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return null_mut();
        }
        let bytes = size_of::<AtomicI64>();
        let place = libc::mmap(
            null_mut(),
            bytes,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file,
            0,
        );
        libc::close(file);
        match place {
            libc::MAP_FAILED => null_mut(),
            place => place.cast(),
        }
    }
}

/// Stands in for the C library's function of that name.
///
/// # Safety
/// As there: `time` must be a place to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> libc::c_int {
    // SAFETY: the caller's promise.
    unsafe {
        let result = libc::syscall(libc::SYS_clock_gettime, clock, time);
        if result == 0 && matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE) {
            (*time).tv_sec += shift();
        }
        result as libc::c_int
    }
}

/// Stands in for the C library's function of that name.
///
/// # Safety
/// As there: `time` must be a place to write to, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(time: *mut timeval, _: *mut libc::c_void) -> libc::c_int {
    if time.is_null() {
        return 0;
    }
    let now = now();
    // SAFETY: the caller's promise.
    unsafe {
        (*time).tv_sec = now.tv_sec;
        (*time).tv_usec = now.tv_nsec / 1000;
    }
    0
}

/// Stands in for the C library's function of that name.
///
/// # Safety
/// As there: `place` must be a place to write to, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(place: *mut time_t) -> time_t {
    let now = now().tv_sec;
    if !place.is_null() {
        // SAFETY: the caller's promise.
        unsafe { *place = now };
    }
    now
}

fn now() -> timespec {
    let mut now = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it is a place to write to. This clock always answers.
    unsafe { clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    now
}
