//! Attribution: the identity map says which employee an address belongs to.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;

use domain::address;
use foldhash::fast::RandomState;

use crate::rows::{Identity, LARGEST_BODY, PayloadError, Row, Run, employee_id, unescape};
use crate::sample::sample;
use crate::scan::{Element, Scan, ScanError, Scanner, Text, Value};

/// So many rejected entries are kept for the log.
const SAMPLES: usize = 3;

/// What the identity map says of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribution {
    Employee(u64),
    /// The map lacks the address.
    Unknown,
    /// It is no address at all.
    NotAnAddress,
}

/// What the map is asked for. Two spellings of an address are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    V4(u32),
    V6(Ipv6Addr),
    /// What is no IP address, without blanks at its edges.
    Name(Box<[u8]>),
}

impl Key {
    pub(crate) fn new(text: &[u8]) -> Self {
        match ipv4(text) {
            Some(address) => Self::V4(address),
            None => Self::other(text),
        }
    }

    #[cold]
    fn other(text: &[u8]) -> Self {
        let utf8 = std::str::from_utf8(text).ok();
        match utf8.and_then(address::parse) {
            Some(IpAddr::V4(address)) => Self::V4(address.into()),
            Some(IpAddr::V6(address)) => Self::V6(address),
            None => Self::Name(utf8.map_or(text, |text| text.trim().as_bytes()).into()),
        }
    }
}

/// Why an entry of the identity map cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryReason {
    /// Its address is empty, or no text: bytes that are not UTF-8, half of a surrogate pair.
    Address,
    /// Its value is not JSON; what is wrong.
    NotJson(&'static str),
    /// Its value is no employee id.
    EmployeeId,
}

impl fmt::Display for EntryReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("its address is empty or no text"),
            Self::NotJson(problem) => write!(f, "its value is not JSON: {problem}"),
            Self::EmployeeId => f.write_str(
                "its value is no employee id: a whole number from 0 to 18446744073709551615, without \
                 sign, fraction, exponent or leading zero",
            ),
        }
    }
}

/// An entry of the identity map that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedEntry {
    /// As upstream sent it; cut off where it is long.
    pub entry: String,
    /// Why it cannot be used.
    pub reason: EntryReason,
}

/// Upstream's identity map: addresses and the employees whose they are. Its addresses come from
/// outside, so the tables are keyed at random: nobody can choose addresses that collide.
#[derive(Debug, Default)]
pub struct Identities {
    ipv4: HashMap<u32, u64, RandomState>,
    others: HashMap<Key, u64, RandomState>,
    entries: u64,
    rejected: u64,
    samples: Vec<RejectedEntry>,
}

impl Identities {
    /// Parses `{"17.55.3.214": 775, ...}`. Of an address that stands twice, the last one counts.
    /// Entries that cannot be used are counted, and cost no other.
    ///
    /// # Errors
    /// When the answer is not a JSON object.
    pub fn parse(body: &[u8]) -> Result<Self, PayloadError> {
        let mut identities = Self::default();
        each_entry(body, |entry| match entry.read(body) {
            Ok((key, employee)) => {
                identities.entries += 1;
                match key {
                    Key::V4(address) => identities.ipv4.insert(address, employee),
                    other => identities.others.insert(other, employee),
                };
            }
            Err(reason) => {
                identities.rejected += 1;
                if identities.samples.len() < SAMPLES {
                    identities.samples.push(entry.rejected(body, reason));
                }
            }
        })?;
        Ok(identities)
    }

    /// How many addresses upstream listed.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// How many entries cannot be used.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// The first entries that cannot be used, for the log.
    #[must_use]
    pub fn samples(&self) -> &[RejectedEntry] {
        &self.samples
    }

    /// Whom `row` of `run` concerns.
    #[inline]
    pub(crate) fn attribute(&self, run: &Run, row: &Row) -> Attribution {
        match row.identity() {
            Identity::Employee(id) => Attribution::Employee(id),
            address => self.look_up(run.address(address).unwrap_or_default()),
        }
    }

    #[inline]
    fn look_up(&self, address: &[u8]) -> Attribution {
        match ipv4(address) {
            Some(address) => self.look_up_ipv4(address),
            None => self.look_up_other(address),
        }
    }

    #[inline]
    fn look_up_ipv4(&self, address: u32) -> Attribution {
        match self.ipv4.get(&address) {
            Some(employee) => Attribution::Employee(*employee),
            None => Attribution::Unknown,
        }
    }

    #[cold]
    fn look_up_other(&self, address: &[u8]) -> Attribution {
        let key = Key::other(address);
        match (self.others.get(&key), key) {
            (_, Key::V4(address)) => self.look_up_ipv4(address),
            (Some(employee), _) => Attribution::Employee(*employee),
            (None, Key::V6(_)) => Attribution::Unknown,
            (None, Key::Name(_)) => Attribution::NotAnAddress,
        }
    }
}

/// The first entry for each of the addresses `wanted` that `body`, an identity map, has and that cannot
/// be used.
pub(crate) fn rejected_entries<'a>(
    body: &[u8],
    wanted: impl Iterator<Item = &'a [u8]>,
) -> HashMap<Key, RejectedEntry> {
    let wanted: Vec<Key> = wanted.map(Key::new).collect();
    let wanted: std::collections::HashSet<Key> = wanted.into_iter().collect();
    let mut found = HashMap::new();
    let scanned = each_entry(body, |entry| {
        if let (Some(key), Err(reason)) = (entry.key(body), entry.read(body))
            && wanted.contains(&key)
        {
            let rejected = || entry.rejected(body, reason);
            found.entry(key).or_insert_with(rejected);
        }
    });
    // Who asks has parsed the map before.
    debug_assert!(scanned.is_ok());
    found
}

/// An entry of the map, as far as it has been looked at.
struct Entry {
    name: Text,
    /// Whether the name is text.
    name_is_text: bool,
    value: Result<Value, &'static str>,
    value_at: Range<usize>,
}

impl Entry {
    /// The address; none if there is no such text.
    fn key(&self, body: &[u8]) -> Option<Key> {
        if !self.name_is_text {
            return None;
        }
        if self.name.escaped {
            return unescape(body, self.name).map(|name| Key::new(name.as_bytes()));
        }
        Some(Key::new(&body[self.name.start..self.name.end]))
    }

    /// The address and the employee.
    fn read(&self, body: &[u8]) -> Result<(Key, u64), EntryReason> {
        let key = self.key(body).ok_or(EntryReason::Address)?;
        if matches!(&key, Key::Name(name) if name.is_empty()) {
            return Err(EntryReason::Address);
        }
        let value = &body[self.value_at.clone()];
        let digits = match self.value.map_err(EntryReason::NotJson)? {
            Value::Number => value,
            Value::String { .. } => &value[1..value.len() - 1],
            Value::Other => &[],
        };
        let employee = employee_id(digits).ok_or(EntryReason::EmployeeId)?;
        Ok((key, employee))
    }

    #[cold]
    fn rejected(&self, body: &[u8], reason: EntryReason) -> RejectedEntry {
        let entry = &body[self.name.start - 1..self.value_at.end];
        RejectedEntry {
            entry: sample(entry),
            reason,
        }
    }
}

/// Tells `each` the entries of an identity map.
fn each_entry(body: &[u8], mut each: impl FnMut(Entry)) -> Result<(), PayloadError> {
    if body.len() as u64 > LARGEST_BODY {
        return Err(PayloadError::TooLarge);
    }
    let mut scanner = Scanner::new(body);
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        return Err(PayloadError::Shape(
            "expected an object of addresses and employee ids",
        ));
    }
    scanner.enter()?;
    let mut more = scanner.peek() != Some(b'}');
    if !more {
        scanner.leave();
    }
    while more {
        each(scan_entry(&mut scanner)?);
        more = scanner.another(b'}')?;
    }
    scanner.end()?;
    Ok(())
}

#[inline]
fn scan_entry(scanner: &mut Scanner<'_>) -> Scan<Entry> {
    let name = scanner.name()?;
    let name_is_text = scanner.take_flaw().is_none() && scanner.is_utf8(name.start..name.end);
    let (start, depth) = (scanner.at(), scanner.depth());
    let value = match scanner.value() {
        Ok(value) => Ok(value),
        Err(error) => Err(broken_value(scanner, start, depth, error)?),
    };
    // No employee id has a flaw.
    scanner.take_flaw();
    Ok(Entry {
        name,
        name_is_text,
        value,
        value_at: start..scanner.at(),
    })
}

/// Passes a value over that is not JSON.
#[cold]
fn broken_value(
    scanner: &mut Scanner<'_>,
    start: usize,
    depth: u32,
    error: ScanError,
) -> Scan<&'static str> {
    if scanner.skip_broken(start, depth, Element::MemberValue) {
        Ok(error.problem)
    } else {
        Err(error)
    }
}

/// An IPv4 address in its one spelling, dotted decimal without leading zeros: what
/// [`Ipv4Addr`](std::net::Ipv4Addr) accepts, several times as fast, since every second row has one.
#[inline]
fn ipv4(text: &[u8]) -> Option<u32> {
    let mut address = 0;
    let mut rest = text;
    for part in 0..4 {
        let digits = rest
            .iter()
            .take(4)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let value = rest[..digits]
            .iter()
            .fold(0, |value, byte| value * 10 + u32::from(byte - b'0'));
        let leading_zero = digits > 1 && rest[0] == b'0';
        if digits == 0 || leading_zero || value > 255 {
            return None;
        }
        address = address << 8 | value;
        rest = &rest[digits..];
        if part < 3 {
            rest = rest.strip_prefix(b".")?;
        }
    }
    rest.is_empty().then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn look_up(map: &str, address: &str) -> Attribution {
        Identities::parse(map.as_bytes())
            .unwrap()
            .look_up(address.as_bytes())
    }

    #[test]
    fn addresses_are_found_in_every_spelling() {
        let map = r#"{"17.1.2.3": 775, "2001:DB8:0::1": "12", "ho\u0073t": 5, "::ffff:17.9.9.9": 8, " 17.8.8.8/32 ": 9}"#;
        for (address, employee) in [
            ("17.1.2.3", 775),
            (" 17.1.2.3\t", 775),
            ("17.1.2.3/32", 775),
            ("::ffff:17.1.2.3", 775),
            ("2001:db8::1", 12),
            ("2001:DB8:0::1", 12),
            ("[2001:db8::0001]", 12),
            ("host", 5),
            (" host ", 5),
            ("17.9.9.9", 8),
            ("17.8.8.8", 9),
        ] {
            assert_eq!(
                look_up(map, address),
                Attribution::Employee(employee),
                "{address:?}"
            );
        }
        for address in ["17.1.2.4", "::ffff:17.1.2.4", "2001:db8::2"] {
            assert_eq!(look_up(map, address), Attribution::Unknown, "{address:?}");
        }
        for address in ["nobody", "17.1.2.3/24", "HOST", "017.1.2.3", ""] {
            assert_eq!(
                look_up(map, address),
                Attribution::NotAnAddress,
                "{address:?}"
            );
        }
    }

    #[test]
    fn the_last_entry_counts_in_whatever_spelling() {
        let map = r#"{"17.1.2.3": 1, "::ffff:17.1.2.3": 2}"#;
        assert_eq!(look_up(map, "17.1.2.3"), Attribution::Employee(2));
    }

    #[test]
    fn one_bad_entry_costs_that_entry() {
        let entries: [(&[u8], EntryReason); 13] = [
            (b"\"17.0.0.1\": 77.0", EntryReason::EmployeeId),
            (b"\"17.0.0.2\": null", EntryReason::EmployeeId),
            (b"\"17.0.0.3\": -1", EntryReason::EmployeeId),
            (b"\"17.0.0.4\": \"07\"", EntryReason::EmployeeId),
            (b"\"17.0.0.5\": {\"id\": 5}", EntryReason::EmployeeId),
            (b"\"17.0.0.6\": NaN", EntryReason::EmployeeId),
            (b"\"17.0.0.7\": \"7\xff\"", EntryReason::EmployeeId),
            (
                b"\"17.0.0.8\": nil",
                EntryReason::NotJson("expected a value"),
            ),
            (
                b"\"17.0.0.9\": \"7\x01\"",
                EntryReason::NotJson("a control character in a string"),
            ),
            (b"\"\": 1", EntryReason::Address),
            (b"\" \": 1", EntryReason::Address),
            (b"\"a\xff\": 1", EntryReason::Address),
            (b"\"\\ud800\": 1", EntryReason::Address),
        ];
        for (bad, reason) in entries {
            let map = [b"{\"17.1.2.3\": 5, ", bad, b", \"17.1.2.4\": 6}"].concat();
            let map = Identities::parse(&map).unwrap();
            assert_eq!((map.entries(), map.rejected()), (2, 1));
            assert_eq!(map.look_up(b"17.1.2.4"), Attribution::Employee(6));
            let rejected = &map.samples()[0];
            assert_eq!(rejected.entry, String::from_utf8_lossy(bad));
            assert_eq!(rejected.reason, reason, "{}", rejected.entry);
        }
    }

    #[test]
    fn few_rejected_entries_are_kept_and_all_are_found() {
        let entries = (0..9).map(|id| format!(r#""17.0.0.{id}": {id}.0"#));
        let map = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
        let parsed = Identities::parse(map.as_bytes()).unwrap();
        assert_eq!((parsed.entries(), parsed.rejected()), (0, 9));
        assert_eq!(parsed.samples().len(), SAMPLES);
        let wanted = [&b"::ffff:17.0.0.8"[..], b"17.0.0.9"];
        let found = rejected_entries(map.as_bytes(), wanted.into_iter());
        assert_eq!(found.len(), 1);
        assert_eq!(found[&Key::new(wanted[0])].entry, r#""17.0.0.8": 8.0"#);
    }

    #[test]
    fn other_shapes_are_refused() {
        for body in ["[]", "", "null", "{", r#"{"a":1}x"#, "<html>", r#"{"a":1]"#] {
            assert!(Identities::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn ipv4_is_read_as_the_standard_library_does(text in "([0-9]{0,4}\\.){0,4}[0-9a]{0,4}|[ -~]{0,16}") {
            let expected = text.parse::<Ipv4Addr>().ok().map(u32::from);
            prop_assert_eq!(ipv4(text.as_bytes()), expected, "{}", text);
        }

        #[test]
        fn every_address_is_read(address in any::<u32>()) {
            prop_assert_eq!(ipv4(Ipv4Addr::from(address).to_string().as_bytes()), Some(address));
        }
    }
}
