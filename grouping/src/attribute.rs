//! Attribution: the identity map says which employee an address belongs to.

use std::collections::HashMap;
use std::net::IpAddr;

use rustc_hash::FxHashMap;

use crate::rows::{Identity, LARGEST_BODY, PayloadError, Row, Run, employee_id, unescape};
use crate::scan::{Scanner, Value};

/// What the identity map says of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribution {
    Employee(u64),
    /// The map lacks the address.
    Unknown,
    /// It is no address at all.
    NotAnAddress,
}

/// Upstream's identity map: addresses and the employees whose they are.
#[derive(Debug, Default)]
pub struct Identities {
    ipv4: FxHashMap<u32, u64>,
    /// Everything else, as upstream writes it; IPv6 addresses also in their canonical form.
    others: HashMap<Box<[u8]>, u64>,
    entries: u64,
    rejected: u64,
    samples: Vec<String>,
}

/// Rejected entries that are kept for the log, and characters of each.
const SAMPLES: usize = 5;
const SAMPLE_CHARS: usize = 100;

/// One entry of the identity map.
struct Entry<'a> {
    /// None if it is empty or cannot be read.
    address: Option<&'a [u8]>,
    employee: Option<u64>,
    /// The whole entry.
    text: &'a [u8],
}

/// Calls `visit` with each entry of the identity map `body`.
fn for_each_entry(body: &[u8], mut visit: impl FnMut(Entry<'_>)) -> Result<(), PayloadError> {
    if body.len() as u64 > LARGEST_BODY {
        return Err(PayloadError::TooLarge);
    }
    let mut scanner = Scanner::new(body)?;
    scanner.skip_whitespace();
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
        let name = scanner.name()?;
        let start = scanner.at();
        let value = scanner.value()?;
        let digits = match value {
            Value::Number => &body[start..scanner.at()],
            Value::String { .. } => &body[start + 1..scanner.at() - 1],
            Value::Other => &[],
        };
        let unescaped = match name.escaped {
            true => unescape(body, name).map(String::into_bytes),
            false => None,
        };
        let address = match &unescaped {
            Some(address) => Some(address.as_slice()),
            None => (!name.escaped).then(|| &body[name.start..name.end]),
        };
        visit(Entry {
            address: address.filter(|address| !address.is_empty()),
            employee: employee_id(digits),
            text: &body[name.start - 1..scanner.at()],
        });
        more = scanner.another(b'}')?;
    }
    scanner.end()?;
    Ok(())
}

/// Whether the identity map `body` has `address`, but with a value that is no employee id.
///
/// # Errors
/// When the answer is not a JSON object.
pub(crate) fn is_rejected(body: &[u8], address: &[u8]) -> Result<bool, PayloadError> {
    let same = |other: &[u8]| {
        let (one, other) = (parse_address(address), parse_address(other));
        one.is_some() && one == other
    };
    let mut found = false;
    for_each_entry(body, |entry| {
        let is_meant = entry
            .address
            .is_some_and(|other| other == address || same(other));
        found |= is_meant && entry.employee.is_none();
    })?;
    Ok(found)
}

impl Identities {
    /// Parses `{"17.55.3.214": 775, ...}`. Of an address that stands twice, the last one counts.
    ///
    /// # Errors
    /// When the answer is not a JSON object.
    pub fn parse(body: &[u8]) -> Result<Self, PayloadError> {
        let mut identities = Self::default();
        for_each_entry(body, |entry| match (entry.address, entry.employee) {
            (Some(address), Some(employee)) => identities.insert(address, employee),
            _ => identities.reject(entry.text),
        })?;
        Ok(identities)
    }

    fn reject(&mut self, entry: &[u8]) {
        self.rejected += 1;
        if self.samples.len() < SAMPLES {
            let text = String::from_utf8_lossy(entry);
            self.samples.push(text.chars().take(SAMPLE_CHARS).collect());
        }
    }

    fn insert(&mut self, address: &[u8], employee: u64) {
        self.entries += 1;
        if let Some(address) = ipv4(address) {
            self.ipv4.insert(address, employee);
            return;
        }
        if let Some(IpAddr::V6(address)) = parse_address(address) {
            self.others
                .insert(address.to_string().into_bytes().into(), employee);
        }
        self.others.insert(address.into(), employee);
    }

    /// How many addresses upstream listed.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// How many entries had no employee id as their value.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// The first of the entries that had no employee id, cut off where they are long: for the log.
    #[must_use]
    pub fn samples(&self) -> &[String] {
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
            Some(address) => match self.ipv4.get(&address) {
                Some(employee) => Attribution::Employee(*employee),
                None => Attribution::Unknown,
            },
            None => self.look_up_other(address),
        }
    }

    #[cold]
    fn look_up_other(&self, address: &[u8]) -> Attribution {
        let parsed = parse_address(address);
        let canonical = parsed.map(|address| address.to_string().into_bytes());
        let employee = self
            .others
            .get(address)
            .or_else(|| self.others.get(canonical?.as_slice()));
        match (employee, parsed) {
            (Some(employee), _) => Attribution::Employee(*employee),
            (None, Some(_)) => Attribution::Unknown,
            (None, None) => Attribution::NotAnAddress,
        }
    }
}

fn parse_address(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
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
        let map = r#"{"17.1.2.3": 775, "2001:DB8:0::1": "12", "ho\u0073t": 5, "bad": null, "worse": -1, "": 1}"#;
        assert_eq!(look_up(map, "17.1.2.3"), Attribution::Employee(775));
        assert_eq!(look_up(map, "2001:db8::1"), Attribution::Employee(12));
        assert_eq!(look_up(map, "2001:DB8:0::1"), Attribution::Employee(12));
        assert_eq!(look_up(map, "host"), Attribution::Employee(5));
        assert_eq!(look_up(map, "17.1.2.4"), Attribution::Unknown);
        assert_eq!(look_up(map, "2001:db8::2"), Attribution::Unknown);
        assert_eq!(look_up(map, "bad"), Attribution::NotAnAddress);
        let parsed = Identities::parse(map.as_bytes()).unwrap();
        assert_eq!((parsed.entries(), parsed.rejected()), (3, 3));
        assert_eq!(
            parsed.samples(),
            [r#""bad": null"#, r#""worse": -1"#, r#""": 1"#]
        );
        let rejects = |address: &[u8]| is_rejected(map.as_bytes(), address).unwrap();
        assert!(rejects(b"worse") && !rejects(b"17.1.2.3") && !rejects(b"17.1.2.4"));
    }

    #[test]
    fn other_shapes_are_refused() {
        for body in ["[]", "", "null", "{", r#"{"a":1}x"#, "<html>"] {
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
