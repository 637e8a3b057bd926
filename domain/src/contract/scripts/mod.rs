//! The scripts that run inside Redis: each is one atomic step of the protocol between refresher
//! and component.
//!
//! They use nothing newer than Redis 6.0 (or Valkey), take all keys as `KEYS`, and read the time
//! from Redis itself, so that no machine's clock is trusted but that of the one Redis.

/// Counts a request against its limits and answers with all that most requests need.
///
/// `KEYS`: current, verified, one counter for each rate limit, then one for each limit of wrong
/// passwords. `ARGV`: how many rate limits there are, what is known of the credential (`right`,
/// `wrong`, `unknown`: it has to be checked unless it is remembered as verified; `none`: there is
/// none to guess with), then for each counter its count and its window in milliseconds.
///
/// Returns `[outcome, wait_ms, limiting (0-based), now_ms, current or "", verified 0|1]`. The outcome
/// is 1 (admitted), 0 (a rate limit is exceeded) or 2 (as many wrong passwords as one limit allows
/// have come from this client, so that not even the right one is admitted). A refused request is not
/// counted, and nothing is read for it. An admitted `wrong` one is counted as a guess; a right one
/// ends the counting of guesses.
pub const ADMIT: &str = include_str!("admit.lua");

/// Puts a refresh command on the stream unless one is there already.
///
/// `KEYS`: refresh-asked, commands. `ARGV`: after how many milliseconds another one may be put
/// there. Returns 1 if it was put there.
pub const ASK_REFRESH: &str = include_str!("ask_refresh.lua");

/// Finds one employee's part of the report.
///
/// `KEYS`: employees, then every block of the report's identity encoding. `ARGV`: the upper and
/// the lower 32 bits of the id, the length of a block. Returns `[found 0|1, part]`, or an error
/// `MISSING` when the generation is gone.
pub const FIND_EMPLOYEE: &str = include_str!("find_employee.lua");

/// Takes, renews or gives up the lease of the leading refresher.
///
/// `KEYS`: lease. `ARGV`: `take` or `release`, the holder, how long in milliseconds, the last token
/// that the caller knows of (0 for none). `take` returns `[token, 1]` to the holder, `[token of the
/// other, 0]` while another one's lease runs; `release` returns 1 if it was the holder's. A new holder
/// gets a token greater than all before, and than the one given.
/// A lease that would run for longer than the term that is asked for was written before the clock
/// went back: it is cut to that term, so that a leader that is gone is missed no longer than ever.
pub const LEASE: &str = include_str!("lease.lua");

/// Draws the next generation: greater than all before, and than the one given.
///
/// `KEYS`: generation. `ARGV`: the last generation that the caller knows. Returns it.
pub const NEXT_GENERATION: &str = include_str!("next_generation.lua");

/// Counts a wrong password that was found out after its request had been admitted.
///
/// `KEYS`: one counter for each limit of wrong passwords. `ARGV`: for each its window in
/// milliseconds.
pub const NOTE_FAILURE: &str = include_str!("note_failure.lua");

/// Makes a written snapshot the current one, or only renews its record.
///
/// `KEYS`: lease, current, refresh-asked, then the keys of the snapshot, then those of the
/// superseded one. `ARGV`: holder, token, the record that is expected to be current (or ""), the new
/// record, how many keys the snapshot has, and for how many milliseconds superseded keys stay.
/// Returns `OK`, or an error that begins with `FENCED` (another refresher leads), `CONFLICT`
/// (current is not what was expected) or `MISSING` (a key of the snapshot is not there).
pub const PUBLISH: &str = include_str!("publish.lua");

/// Reads what the service's processes report of themselves.
///
/// `KEYS`: poison, history, node-changes, nodes. `ARGV`: how many nodes to return at most, and how
/// many bytes the record of a node or of the history may have (a longer one is left out). Returns
/// `[length of poison, history or "", changes to healthy, to hanging, to offline, node, node, …]`: flat,
/// as Spin hands no other list to a component. A key of the wrong kind counts as absent.
pub const STATUS: &str = include_str!("status.lua");

/// Deletes those parts of a snapshot that still are to go by themselves: staged, and part of no
/// snapshot that is current.
///
/// `KEYS`: the parts. Returns `OK`.
pub const UNSTAGE: &str = include_str!("unstage.lua");
