//! What comes from outside, given to the code that reads it. Each module has one function `check`,
//! which takes any bytes and panics when something does not hold that must: not only that nothing
//! panics, but what a plain model says of the same bytes.
//!
//! A program for each is in `targets`, its first inputs are in `seeds`; the tests of `grouping` run
//! every check over them.

pub mod authorization;
pub mod forwarded;
pub mod identities;
pub mod incidents;
pub mod limits;
pub mod settings;

/// The parts of an input: they are separated by a byte 0, which no text from outside may hold.
fn parts<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut parts = data.splitn(N, |byte| *byte == 0);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}
