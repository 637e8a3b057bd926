//! Who there is: employees, their machines, and the identity map that leads from one to the other.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use bytes::Bytes;

use super::payload::Payload;
use crate::random::Random;

/// Machines have addresses from 17.0.0.0 up to here; those above belong to nobody.
const MAPPED: u64 = 250 << 16;

/// All of 17.0.0.0/8.
const ADDRESSES: u64 = 1 << 24;

/// The employees and their machines.
#[derive(Debug)]
pub(super) struct People {
    employees: Vec<u32>,
    machines: Vec<Machine>,
}

#[derive(Debug)]
struct Machine {
    address: Ipv4Addr,
    employee: u32,
}

impl People {
    /// Every employee has a machine, every fourth a second one.
    pub(super) fn new(seed: u64, employees: u32) -> Self {
        let mut random = Random::new(seed, 0);
        let highest = (u64::from(employees) * 4).max(999_999);
        let employees: Vec<u32> = distinct(employees as usize, || 1 + random.below(highest));
        let owners: Vec<u32> = employees
            .iter()
            .chain(employees.iter().step_by(4))
            .copied()
            .collect();
        let addresses = distinct(owners.len(), || random.below(MAPPED));
        let machines = addresses
            .into_iter()
            .zip(owners)
            .map(|(offset, employee)| Machine {
                address: address(offset),
                employee,
            })
            .collect();
        Self {
            employees,
            machines,
        }
    }

    /// The id of any employee.
    pub(super) fn employee(&self, random: &mut Random) -> u32 {
        self.employees[random.below(self.employees.len() as u64) as usize]
    }

    /// The address of any employee's machine.
    pub(super) fn machine(&self, random: &mut Random) -> Ipv4Addr {
        self.machines[random.below(self.machines.len() as u64) as usize].address
    }

    /// An address that the identity map lacks.
    pub(super) fn nobodys_machine(random: &mut Random) -> Ipv4Addr {
        address((MAPPED + random.below(ADDRESSES - MAPPED)) as u32)
    }

    /// Any address of the network.
    pub(super) fn any_machine(random: &mut Random) -> Ipv4Addr {
        address(random.below(ADDRESSES) as u32)
    }

    /// The identity map.
    pub(super) fn identities(&self) -> Payload {
        map(&self.machines)
    }

    /// The identity map before the newest tenth of the machines came.
    pub(super) fn stale_identities(&self) -> Payload {
        let known = self.machines.len() - self.machines.len().div_ceil(10);
        map(&self.machines[..known])
    }
}

fn address(offset: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits((17 << 24) | offset)
}

/// The first `count` different numbers of a sequence, in its order.
fn distinct(count: usize, mut next: impl FnMut() -> u64) -> Vec<u32> {
    let mut seen = HashSet::with_capacity(count);
    let mut found = Vec::with_capacity(count);
    while found.len() < count {
        let number = u32::try_from(next()).expect("ids and addresses are small");
        if seen.insert(number) {
            found.push(number);
        }
    }
    found
}

fn map(machines: &[Machine]) -> Payload {
    let entries: Vec<String> = machines
        .iter()
        .map(|machine| format!("\"{}\":{}", machine.address, machine.employee))
        .collect();
    Payload::from(Bytes::from(format!("{{{}}}", entries.join(","))))
}
