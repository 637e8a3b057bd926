//! The rows of one incident type, one after the other in time.

use std::io::Write as _;

use bytes::Bytes;
use domain::incident::{IdentityKind, IncidentType, Priority};

use super::payload::Payload;
use super::people::People;
use crate::random::Random;

/// 2021-08-25T22:40:00Z, when the first incidents happen, in ticks.
const START: u64 = 1_629_931_200 * TICKS;

/// Ticks a second: upstream's clock has seven digits after the point.
const TICKS: u64 = 10_000_000;

/// The longest time between two incidents of a type, in ticks.
const LONGEST_GAP: u64 = 60 * TICKS;

/// Rows are kept in pieces of about this size, so that growth copies no more than one.
const PIECE: usize = 1 << 20;

/// The longest row, with room to spare.
const LONGEST_ROW: usize = 256;

/// The types whose rows also say where the attack came from.
const WITH_SOURCE: [&str; 2] = ["denial", "intrusion"];

/// A growing list of rows as JSON text.
#[derive(Debug)]
pub(super) struct Rows {
    kind: IncidentType,
    random: Random,
    /// When the last row happened, in ticks since 1970.
    clock: u64,
    count: u64,
    /// Full pieces; they never change.
    sealed: Vec<Bytes>,
    /// What follows them.
    tail: Vec<u8>,
}

impl Rows {
    /// No rows yet.
    pub(super) fn new(kind: IncidentType, seed: u64, stream: u64) -> Self {
        Self {
            kind,
            random: Random::new(seed, stream),
            clock: START,
            count: 0,
            sealed: Vec::new(),
            tail: br#"{"results":["#.to_vec(),
        }
    }

    /// The type's name.
    pub(super) fn name(&self) -> &str {
        &self.kind.name
    }

    /// Appends rows until there are `count`; whether there are more now.
    pub(super) fn grow_to(&mut self, count: u64, people: &People) -> bool {
        let grows = self.count < count;
        while self.count < count {
            if self.tail.len() >= PIECE {
                let next = Vec::with_capacity(PIECE + LONGEST_ROW);
                self.sealed
                    .push(Bytes::from(std::mem::replace(&mut self.tail, next)));
            }
            self.push(people);
        }
        grows
    }

    /// The whole body as of now.
    pub(super) fn payload(&self) -> Payload {
        let mut parts = self.sealed.clone();
        parts.push(Bytes::from([&self.tail, &b"]}"[..]].concat()));
        Payload::new(parts)
    }

    fn push(&mut self, people: &People) {
        if self.count > 0 {
            self.tail.push(b',');
        }
        self.count += 1;
        // Now and then two incidents happen at the same time.
        if !self.random.chance(0.01) {
            self.clock += self.random.below(LONGEST_GAP);
        }
        let priority = self.priority();
        let field = &self.kind.field;
        let identity = identity(self.kind.identity, &mut self.random, people);
        // Upstream sends doubles, in the fewest digits that give the same double again.
        let timestamp = self.clock as f64 / TICKS as f64;
        let row = &mut self.tail;
        write!(
            row,
            r#"{{"priority":"{priority}","{field}":{identity},"timestamp":{timestamp:?}"#
        )
        .expect("memory takes every byte");
        if WITH_SOURCE.contains(&self.kind.name.as_str()) {
            let source = People::any_machine(&mut self.random);
            write!(row, r#","source_ip":"{source}""#).expect("memory takes every byte");
        }
        row.push(b'}');
    }

    fn priority(&mut self) -> Priority {
        match self.random.below(10) {
            0..4 => Priority::Low,
            4..7 => Priority::Medium,
            7..9 => Priority::High,
            _ => Priority::Critical,
        }
    }
}

/// The identity field's value, as JSON.
fn identity(kind: IdentityKind, random: &mut Random, people: &People) -> String {
    let is_address = match kind {
        IdentityKind::Employee => false,
        IdentityKind::Ip => true,
        IdentityKind::EmployeeOrIp => random.chance(0.1),
    };
    if !is_address {
        return people.employee(random).to_string();
    }
    let address = if random.chance(0.01) {
        People::nobodys_machine(random)
    } else {
        people.machine(random)
    };
    format!("\"{address}\"")
}
