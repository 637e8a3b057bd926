//! Parsing: one type's upstream answer becomes a run of small rows that point into its bytes.

mod members;
mod row;
mod values;

use bytes::Bytes;
use domain::incident::{IncidentType, Priority};
use thiserror::Error;

use self::members::{Found, Members, Shape, rewrite};
pub use self::row::Reason;
use self::row::Rest;
pub(crate) use self::row::{Identity, Rejection, Row, RowAt};
pub(crate) use self::values::{employee_id, is_named, unescape};
use self::values::{priority, time_key};
use crate::scan::{Element, Scan, ScanError, Scanner};

/// The largest answer that can be parsed, in bytes: positions are kept in 32 bits.
pub const LARGEST_BODY: u64 = u32::MAX as u64;

/// Why an upstream answer cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// It is not JSON, or cut off.
    #[error("the answer is not valid JSON: {problem} at byte {at}")]
    Syntax {
        /// The offset of the first byte that does not fit.
        at: usize,
        /// What does not fit.
        problem: &'static str,
    },
    /// It is JSON of another shape.
    #[error("the answer does not have the expected shape: {0}")]
    Shape(&'static str),
    /// It is larger than [`LARGEST_BODY`].
    #[error("the answer is larger than 4 GiB")]
    TooLarge,
}

impl From<ScanError> for PayloadError {
    fn from(error: ScanError) -> Self {
        Self::Syntax {
            at: error.at,
            problem: error.problem,
        }
    }
}

/// The rows of one incident type, in the order of their timestamps.
#[derive(Debug, Clone)]
pub struct Run {
    body: Bytes,
    pub(crate) rows: Vec<Row>,
    pub(crate) rejections: Vec<Rejection>,
    /// The members, without `type` and `priority`, of rows in which these do not come first.
    rewritten: Vec<Box<[u8]>>,
    /// Addresses that were written with escapes.
    texts: Vec<String>,
}

impl Run {
    /// Parses `{"results": [row, ...]}`. Rows that cannot be used are set aside, not lost; also those
    /// that are not JSON, as long as it is certain where they end.
    ///
    /// # Errors
    /// When the answer is not JSON or has no array `results`: then nothing of it is used.
    pub fn parse(kind: &IncidentType, body: Bytes) -> Result<Self, PayloadError> {
        if body.len() as u64 > LARGEST_BODY {
            return Err(PayloadError::TooLarge);
        }
        let mut run = Self {
            // Shorter rows than this are rare; a wrong guess costs one growth of the vector.
            rows: Vec::with_capacity(body.len() / 112),
            rejections: Vec::new(),
            rewritten: Vec::new(),
            texts: Vec::new(),
            body,
        };
        let body = run.body.clone();
        let mut scanner = Scanner::new(&body);
        if scanner.peek() != Some(b'{') {
            scanner.value()?;
            return Err(PayloadError::Shape(
                "expected an object with the array `results`",
            ));
        }
        scanner.enter()?;
        let mut found = false;
        let mut more = scanner.peek() != Some(b'}');
        if !more {
            scanner.leave();
        }
        while more {
            let name = scanner.name()?;
            if is_named(&body, name, b"results") {
                if found {
                    return Err(PayloadError::Shape("`results` is there twice"));
                }
                if scanner.peek() != Some(b'[') {
                    return Err(PayloadError::Shape("`results` is not an array"));
                }
                found = true;
                run.rows(kind, &body, &mut scanner)?;
            } else {
                scanner.value()?;
            }
            more = scanner.another(b'}')?;
        }
        scanner.end()?;
        if !found {
            return Err(PayloadError::Shape("`results` is missing"));
        }
        // Upstream normally sends sorted rows. The sort is stable: ties keep upstream's order.
        if !run.rows.is_sorted_by_key(|row| row.time) {
            run.rows.sort_by_key(|row| row.time);
        }
        Ok(run)
    }

    /// How many rows upstream sent.
    #[must_use]
    pub fn fetched(&self) -> u64 {
        (self.rows.len() + self.rejections.len()) as u64
    }

    /// Where each row is, in the order in which upstream sent them.
    pub(crate) fn in_upstream_order(&self) -> impl Iterator<Item = RowAt> {
        let rows = self.rows.iter().zip(0..);
        let rows = rows.map(|(row, index)| (row.start, RowAt::Usable(index)));
        let rejections = self.rejections.iter().zip(0..);
        let rejections = rejections.map(|(row, index)| (row.start, RowAt::Rejected(index)));
        let mut all: Vec<_> = rows.chain(rejections).collect();
        all.sort_unstable_by_key(|(start, _)| *start);
        all.into_iter().map(|(_, at)| at)
    }

    /// The row there, as upstream sent it.
    pub(crate) fn text(&self, at: RowAt) -> &[u8] {
        let (start, len) = match at {
            RowAt::Usable(index) => {
                let row = &self.rows[index as usize];
                (row.start, row.len)
            }
            RowAt::Rejected(index) => {
                let rejection = &self.rejections[index as usize];
                (rejection.start, rejection.len)
            }
        };
        slice(&self.body, start, len)
    }

    /// What follows `type` and `priority` in the report: a row's other members and its closing
    /// brace.
    #[inline]
    pub(crate) fn rest(&self, row: &Row) -> &[u8] {
        match row.rest() {
            Rest::Body(at) => &self.body[at as usize..(row.start + row.len) as usize],
            Rest::Rewritten(index) => &self.rewritten[index as usize],
        }
    }

    /// The address that a row concerns; `None` if it names an employee.
    #[inline]
    pub(crate) fn address(&self, identity: Identity) -> Option<&[u8]> {
        match identity {
            Identity::Employee(_) => None,
            Identity::Address { start, len } => Some(slice(&self.body, start, len)),
            Identity::Escaped(index) => Some(self.texts[index as usize].as_bytes()),
        }
    }

    fn rows(&mut self, kind: &IncidentType, body: &[u8], scanner: &mut Scanner<'_>) -> Scan<()> {
        scanner.enter()?;
        if scanner.peek() == Some(b']') {
            scanner.leave();
            return Ok(());
        }
        let mut shape = Shape::new(kind, body);
        // What is wrong outside of the rows is none of theirs.
        scanner.take_flaw();
        loop {
            let (start, depth) = (scanner.at(), scanner.depth());
            if let Err(error) = self.row(scanner, &mut shape) {
                self.broken_row(scanner, start, depth, error)?;
            }
            if !scanner.another(b']')? {
                return Ok(());
            }
        }
    }

    /// Sets a row aside that is not JSON.
    #[cold]
    fn broken_row(
        &mut self,
        scanner: &mut Scanner<'_>,
        start: usize,
        depth: u32,
        error: ScanError,
    ) -> Scan<()> {
        if !scanner.skip_broken(start, depth, Element::Row) {
            return Err(error);
        }
        self.rejections.push(Rejection {
            reason: Reason::NotJson(error.problem),
            start: start as u32,
            len: (scanner.at() - start) as u32,
        });
        Ok(())
    }

    #[inline]
    fn row(&mut self, scanner: &mut Scanner<'_>, shape: &mut Shape<'_>) -> Scan<()> {
        let Shape { kind, body, .. } = *shape;
        let start = scanner.at();
        let members = if scanner.peek() == Some(b'{') {
            Some(Members::scan(scanner, shape)?)
        } else {
            scanner.value()?;
            None
        };
        let end = scanner.at();
        let place = (start as u32, (end - start) as u32);
        let usable = match (scanner.take_flaw(), members) {
            _ if !scanner.is_utf8(start..end) => Err(Reason::NotUtf8),
            (Some(flaw), _) => Err(flaw.into()),
            (None, None) => Err(Reason::NotAnObject),
            (None, Some(members)) => self.usable(kind, body, &members, place),
        };
        match usable {
            Ok(row) => self.rows.push(row),
            Err(reason) => {
                let (start, len) = place;
                self.rejections.push(Rejection { reason, start, len });
            }
        }
        Ok(())
    }

    #[inline]
    fn usable(
        &mut self,
        kind: &IncidentType,
        body: &[u8],
        members: &Members,
        place: (u32, u32),
    ) -> Result<Row, Reason> {
        let priority: Priority = members
            .priority
            .and_then(|text| priority(body, text))
            .ok_or(Reason::Priority)?;
        let time = members
            .timestamp
            .and_then(|(start, end)| time_key(&body[start..end]))
            .ok_or(Reason::Timestamp)?;
        let identity = members
            .identity
            .and_then(|found| self.identity(kind, body, found))
            .ok_or(Reason::Identity)?;
        let rest = match members.rest {
            Some(at) => Rest::Body(at as u32),
            None => {
                self.rewritten.push(rewrite(slice(body, place.0, place.1)));
                Rest::Rewritten((self.rewritten.len() - 1) as u32)
            }
        };
        Ok(Row::new(time, identity, priority, place, rest))
    }

    #[inline]
    fn identity(&mut self, kind: &IncidentType, body: &[u8], found: Found) -> Option<Identity> {
        let employee = kind.identity.allows_employee();
        match found {
            Found::Number(start, end) => {
                let id = employee.then(|| employee_id(&body[start..end]))??;
                Some(Identity::Employee(id))
            }
            Found::Text(text) if !text.escaped => {
                let contents = &body[text.start..text.end];
                match employee_id(contents) {
                    Some(id) if employee => Some(Identity::Employee(id)),
                    _ => (kind.identity.allows_ip() && !contents.is_empty()).then_some(
                        Identity::Address {
                            start: text.start as u32,
                            len: contents.len() as u32,
                        },
                    ),
                }
            }
            Found::Text(text) => {
                let contents = unescape(body, text)?;
                match employee_id(contents.as_bytes()) {
                    Some(id) if employee => Some(Identity::Employee(id)),
                    _ => kind.identity.allows_ip().then(|| {
                        self.texts.push(contents);
                        Identity::Escaped((self.texts.len() - 1) as u32)
                    }),
                }
            }
        }
    }
}

#[inline]
fn slice(body: &[u8], start: u32, len: u32) -> &[u8] {
    &body[start as usize..][..len as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Texts with much of what structure is made of.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<String>(),
            prop::sample::select(vec![
                "},{",
                "}",
                "]}",
                "\"",
                "\\",
                ",",
                ":",
                "{\"priority\":\"low\"}"
            ])
            .prop_map(str::to_owned),
        ];
        prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
    }

    fn is_structure(byte: u8) -> bool {
        b"\"\\{}[],".contains(&byte)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// One byte of a row changed, removed or added: no other row is lost or another one.
        #[test]
        fn damage_to_a_row_costs_no_other(
            texts in prop::collection::vec(text(), 1..6),
            row in any::<prop::sample::Index>(),
            place in any::<prop::sample::Index>(),
            byte in prop_oneof![any::<u8>(), prop::sample::select(b"\"\\{}[],:x1".to_vec())],
            how in 0..3,
        ) {
            let rows: Vec<Vec<u8>> = texts.iter().map(|text| {
                let text = serde_json::to_string(text).unwrap();
                format!(r#"{{"priority":"low","x":[{text}],"reported_by":1,"timestamp":1}}"#).into_bytes()
            }).collect();
            let mut sent = rows.clone();
            let row = row.index(sent.len());
            let at = place.index(sent[row].len());
            let before = sent[row][at];
            match how {
                0 => sent[row][at] = byte,
                1 => { sent[row].remove(at); }
                _ => sent[row].insert(at, byte),
            }
            let body = [&b"{\"results\":["[..], &sent.join(&b','), &b"]}"[..]].concat();
            // A text that ends like this might be structure whose quotes are lost.
            let ends_oddly = texts[row].split_whitespace().collect::<String>().ends_with("},{");
            let is_escape = at > 0 && rows[row][at - 1] == b'\\';
            let touches_structure = how != 1 && is_structure(byte) || how != 2 && is_structure(before);
            // A value before the row, without a comma, belongs to neither.
            let is_before = how == 2 && at == 0;
            let is_harmless = !ends_oddly && !is_escape && !touches_structure && !is_before;
            match Run::parse(&IncidentType::defaults()[0], body.into()) {
                Ok(run) => {
                    let found: Vec<&[u8]> = run.in_upstream_order().map(|at| run.text(at)).collect();
                    prop_assert_eq!(found.len(), rows.len());
                    for (index, (found, sent)) in found.iter().zip(&rows).enumerate() {
                        prop_assert!(index == row || found == sent);
                    }
                }
                Err(error) => prop_assert!(!is_harmless, "{}", error),
            }
        }
    }
}
