//! Finds rows of the timeline that are some employees'.

use std::borrow::Cow;

use super::find_rows::{Bounds, blocks, ordinal};
use super::{Argument, Call, Found, LaneSearch, Order, Script, Values};
use crate::contract::keys::Keys;
use crate::contract::record::Current;
use crate::contract::timeline::ORDINALS_PER_BLOCK;

/// `KEYS`: employees, then all blocks of the list of their rows, then all blocks of the lanes. `ARGV`: `asc`
/// or `desc`, how many entries of each employee and lane are wanted, the bounds, the lanes (11 bytes each:
/// its first ordinal, its length, the numbers of three bounds), the ids (8 bytes each), how many employees
/// and how many rows there are, how many blocks the list has, the employee to whom the rows belong that the
/// cursors skip (8 bytes). Returns how many parts were found, then for
/// each `employee, lane, total, rest, entries`, the first two as indexes; or an error `MISSING` when the
/// generation is gone, `DAMAGED` when it cannot be as it is.
static SCRIPT: Script = Script::new(
    "find_employee_rows",
    concat!(
        include_str!("rows.lua"),
        include_str!("find_employee_rows.lua")
    ),
);

/// Asks for the next rows of some employees in some lanes. Answers with the parts in which there are any
/// rows between the bounds.
#[derive(Debug)]
pub struct FindEmployeeRows {
    names: Vec<String>,
    order: Order,
    most: usize,
    bounds: Bounds,
    lanes: Vec<u8>,
    employees: Vec<u8>,
    last_read: [u8; 8],
    employee_count: u64,
    row_count: u64,
    list_blocks: u32,
}

/// What was found of one employee in one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmployeeFound {
    /// The index of the employee among those that were asked for.
    pub employee: usize,
    /// The index of the lane among those that were asked for.
    pub lane: usize,
    /// What there is.
    pub found: Found,
}

impl FindEmployeeRows {
    /// Of the snapshot that `record` tells of, of `lanes` in their order, at most the next `most` rows of
    /// each of the `employees`. All lanes together have at most 255 different bounds. What a cursor skips are
    /// rows of the employee `last_read`: in a list of several, rows that have the same key stand by employee.
    #[must_use]
    pub fn new(
        keys: &Keys,
        record: &Current,
        lanes: &[LaneSearch],
        employees: &[u64],
        last_read: u64,
        order: Order,
        most: usize,
    ) -> Self {
        let generation = record.generation;
        let row_count = record.totals().reported;
        let list_blocks = u32::try_from(row_count.div_ceil(ORDINALS_PER_BLOCK)).unwrap_or(u32::MAX);
        let mut names = vec![keys.employees(generation)];
        names.extend((0..list_blocks).map(|block| keys.employee_rows(generation, block)));
        names.extend(blocks(&(0..row_count)).map(|block| keys.lanes(generation, block)));
        let mut bounds = Bounds::default();
        let mut packed = Vec::with_capacity(lanes.len() * 11);
        for lane in lanes {
            packed.extend_from_slice(&ordinal(lane.rows.start));
            let length = lane.rows.end.saturating_sub(lane.rows.start);
            packed.extend_from_slice(&ordinal(length));
            packed.extend_from_slice(&bounds.numbers(lane));
        }
        Self {
            names,
            order,
            most,
            bounds,
            lanes: packed,
            employees: employees.iter().flat_map(|id| id.to_be_bytes()).collect(),
            last_read: last_read.to_be_bytes(),
            employee_count: record.employees,
            row_count,
            list_blocks,
        }
    }
}

impl Call for FindEmployeeRows {
    type Reply = Vec<EmployeeFound>;

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        self.names.iter().map(|name| name.as_str().into()).collect()
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        vec![
            self.order.name().into(),
            self.most.into(),
            Argument::Bytes(&self.bounds.packed),
            Argument::Bytes(&self.lanes),
            Argument::Bytes(&self.employees),
            self.employee_count.into(),
            self.row_count.into(),
            u64::from(self.list_blocks).into(),
            Argument::Bytes(&self.last_read),
        ]
    }

    fn parse(mut values: Values<'_>) -> Option<Vec<EmployeeFound>> {
        let parts = values.count()?;
        let part = |_| {
            Some(EmployeeFound {
                employee: usize::try_from(values.count()?).ok()?,
                lane: usize::try_from(values.count()?).ok()?,
                found: Found::parse(&mut values)?,
            })
        };
        (0..parts).map(part).collect()
    }
}
