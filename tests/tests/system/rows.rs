//! The scripts that find and read rows of the timeline, on a real Redis, compared with plain lists.

use std::ops::Range;

use domain::contract::keys::Keys;
use domain::contract::scripts::{
    Bound, Call, DAMAGED, EmployeeFound, FindEmployeeRows, FindRows, Found, LaneSearch, MISSING,
    Order, ReadRows,
};
use domain::contract::timeline::{Lane, RowEntry, RowKey, TimeKey};
use domain::incident::Priority;
use end_to_end::{MadeRow, MadeSnapshot, Redis};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, RedisResult};
use tokio::runtime::Runtime;

const TYPES: [&str; 3] = ["denial", "probing", "other"];

/// Few, so that many rows have the same.
const TIMES: [f64; 5] = [-1e300, -0.5, 0.0, 1_636_364_637.451_105_6, 1e300];
const TIES: [u64; 4] = [0, 1, 0xffff_ffff, RowKey::TIES - 1];
const EMPLOYEES: [u64; 5] = [0, 7, 0xffff_ffff, 1 << 32, u64::MAX];

struct Stored {
    redis: Redis,
    connection: MultiplexedConnection,
    keys: Keys,
    snapshot: MadeSnapshot,
}

impl Stored {
    async fn of(redis: Redis, rows: Vec<MadeRow>) -> Self {
        let (snapshot, keys) = (MadeSnapshot::new(&TYPES, rows, "e"), Keys::new("t"));
        snapshot.publish(&redis, &keys).await;
        Self {
            connection: redis.connection().await,
            redis,
            keys,
            snapshot,
        }
    }

    async fn try_call<C: Call>(&self, call: &C) -> RedisResult<C::Reply> {
        refresher::store::call(&mut self.connection.clone(), call).await
    }

    async fn call<C: Call>(&self, call: &C) -> C::Reply {
        self.try_call(call).await.expect("a reply")
    }

    async fn refusal<C: Call<Reply: std::fmt::Debug>>(&self, call: &C) -> String {
        let error = self.try_call(call).await.expect_err("it is refused");
        error.code().unwrap_or_default().to_owned()
    }

    fn find(&self, search: &Search) -> FindRows {
        let lanes = search.lanes(&self.snapshot);
        FindRows::new(&self.keys, 1, &lanes, search.order, search.most)
    }

    fn find_employees(&self, search: &Search) -> FindEmployeeRows {
        let lanes = search.lanes(&self.snapshot);
        let (record, employees) = (&self.snapshot.record, &search.employees);
        let (order, most) = (search.order, search.most);
        FindEmployeeRows::new(
            &self.keys,
            record,
            &lanes,
            employees,
            search.last_read,
            order,
            most,
        )
    }

    /// Both scripts find what a plain look at the rows finds.
    async fn agrees(&self, search: &Search) -> Result<(), TestCaseError> {
        let found = self.call(&self.find(search)).await;
        prop_assert_eq!(found, search.expected(&self.snapshot));
        let found = self.call(&self.find_employees(search)).await;
        prop_assert_eq!(found, search.expected_of_employees(&self.snapshot));
        Ok(())
    }
}

/// What is asked of the lanes, each of which has a cursor of its own.
#[derive(Debug, Clone)]
struct Search {
    since: Option<RowKey>,
    until: Option<RowKey>,
    cursors: Vec<Option<Bound>>,
    is_wanted: Vec<bool>,
    employees: Vec<u64>,
    last_read: u64,
    order: Order,
    most: usize,
}

impl Search {
    fn wanted<'a>(
        &'a self,
        snapshot: &MadeSnapshot,
    ) -> impl Iterator<Item = (Lane, Option<Bound>)> + use<'a> {
        let lanes = snapshot.lanes().into_iter();
        lanes
            .zip(self.cursors.iter().copied())
            .zip(&self.is_wanted)
            .filter_map(|(lane, is_wanted)| is_wanted.then_some(lane))
    }

    fn lanes(&self, snapshot: &MadeSnapshot) -> Vec<LaneSearch> {
        let search = |(lane, cursor): (Lane, _)| LaneSearch {
            rows: lane.rows,
            since: self.since,
            until: self.until,
            cursor,
        };
        self.wanted(snapshot).map(search).collect()
    }

    fn expected(&self, snapshot: &MadeSnapshot) -> Vec<Found> {
        let found = |(lane, cursor): (Lane, _)| {
            let rows = lane.rows.start as usize..lane.rows.end as usize;
            self.cut(&snapshot.entries[rows], cursor)
        };
        self.wanted(snapshot).map(found).collect()
    }

    fn expected_of_employees(&self, snapshot: &MadeSnapshot) -> Vec<EmployeeFound> {
        let mut expected = Vec::new();
        for (employee, id) in self.employees.iter().enumerate() {
            for (number, (lane, cursor)) in self.wanted(snapshot).enumerate() {
                let rows = lane.rows.start as usize..lane.rows.end as usize;
                let own = |entry: &&RowEntry| entry.employee == *id;
                let own: Vec<_> = snapshot.entries[rows].iter().filter(own).cloned().collect();
                let found = self.cut(&own, cursor.map(|cursor| self.cursor_of(cursor, *id)));
                if found.total > 0 {
                    expected.push(EmployeeFound {
                        employee,
                        lane: number,
                        found,
                    });
                }
            }
        }
        expected
    }

    /// Rows of the same key stand by employee, and only those of one are skipped in part.
    fn cursor_of(&self, cursor: Bound, employee: u64) -> Bound {
        let skip_all = u32::MAX;
        match (cursor.skip, employee.cmp(&self.last_read), self.order) {
            (0, _, _) | (_, std::cmp::Ordering::Equal, _) => cursor,
            (_, std::cmp::Ordering::Less, Order::Ascending)
            | (_, std::cmp::Ordering::Greater, Order::Descending) => Bound {
                skip: skip_all,
                ..cursor
            },
            (_, std::cmp::Ordering::Greater, Order::Ascending) => Bound { skip: 0, ..cursor },
            (_, std::cmp::Ordering::Less, Order::Descending) => Bound {
                key: RowKey {
                    tie: cursor.key.tie + 1,
                    ..cursor.key
                },
                skip: 0,
            },
        }
    }

    fn cut(&self, entries: &[RowEntry], cursor: Option<Bound>) -> Found {
        let place = |bound: Bound, entries: &[RowEntry], order| {
            let count = |is: &dyn Fn(&RowKey) -> bool| {
                entries.iter().filter(|entry| is(&entry.key)).count()
            };
            let before = count(&|key| *key < bound.key);
            let (same, skip) = (count(&|key| *key == bound.key), bound.skip as usize);
            match order {
                _ if skip == 0 => before,
                Order::Ascending => before + same.min(skip),
                Order::Descending => before + same.saturating_sub(skip),
            }
        };
        let upward = Order::Ascending;
        let whole = |key| Bound { key, skip: 0 };
        let start = self
            .since
            .map_or(0, |since| place(whole(since), entries, upward));
        let end = self
            .until
            .map_or(entries.len(), |until| place(whole(until), entries, upward));
        let between = &entries[start..end.max(start)];
        let at = cursor.map(|cursor| place(cursor, between, self.order));
        let rest = match (at, self.order) {
            (None, _) => between,
            (Some(at), Order::Ascending) => &between[at..],
            (Some(at), Order::Descending) => &between[..at],
        };
        let most = rest.len().min(self.most);
        let next = match self.order {
            Order::Ascending => &rest[..most],
            Order::Descending => &rest[rest.len() - most..],
        };
        Found {
            total: between.len() as u64,
            rest: rest.len() as u64,
            entries: next.to_vec(),
        }
    }
}

fn row() -> impl Strategy<Value = MadeRow> {
    let of = (
        0..TYPES.len(),
        select(&Priority::ALL),
        select(&EMPLOYEES[..4]),
    );
    (of, select(&TIMES), select(&TIES), 0..20_usize).prop_map(|(of, time, tie, length)| MadeRow {
        kind: of.0,
        priority: of.1,
        employee: of.2,
        time,
        tie,
        text: format!("{{\"x\":\"{}\"}}", "x".repeat(length)),
    })
}

fn bound() -> impl Strategy<Value = Bound> {
    let keys = [TIMES[0], TIMES[1], TIMES[2], 1.0, TIMES[3], TIMES[4]];
    (select(keys.to_vec()), select(&TIES), 0..4_u32).prop_map(|(time, tie, skip)| Bound {
        key: RowKey {
            time: TimeKey::new(time).unwrap(),
            tie,
        },
        skip,
    })
}

fn search() -> impl Strategy<Value = Search> {
    let ends = (option::of(bound()), option::of(bound()));
    let lanes = (vec(option::of(bound()), 12), vec(any::<bool>(), 12));
    let employees = (vec(select(&EMPLOYEES), 0..4), select(&EMPLOYEES));
    let order = select(vec![Order::Ascending, Order::Descending]);
    (ends, lanes, employees, order, 1..9_usize).prop_map(|(ends, lanes, employees, order, most)| {
        Search {
            since: ends.0.map(|bound| bound.key),
            until: ends.1.map(|bound| bound.key),
            cursors: lanes.0,
            is_wanted: lanes.1,
            employees: employees.0,
            last_read: employees.1,
            order,
            most,
        }
    })
}

#[test]
fn rows_are_found_as_in_plain_lists() {
    let runtime = Runtime::new().expect("a runtime");
    let redis = runtime.block_on(Redis::start());
    let redis = std::cell::Cell::new(Some(redis));
    let mut runner = TestRunner::new(Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    });
    let cases = (vec(row(), 0..80), vec(search(), 12));
    let outcome = runner.run(&cases, |(rows, searches)| {
        runtime.block_on(async {
            let stored = Stored::of(redis.take().expect("it is put back"), rows).await;
            let mut outcome = Ok(());
            for search in &searches {
                outcome = outcome.and(stored.agrees(search).await);
            }
            redis.set(Some(stored.redis));
            outcome
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// More than two blocks of the lanes, with masses of equal keys across both borders, and employees with so
/// many rows that the list of theirs is read in parts.
fn many_rows() -> Vec<MadeRow> {
    let row = |number: u64| MadeRow {
        kind: [0, 1, 1, 2][(number / 20_000) as usize],
        priority: Priority::ALL[(number / 10_000 % 4) as usize],
        employee: [7, 1 << 32][usize::from(number.is_multiple_of(5))],
        time: 1.5e9 + (number / 3000) as f64,
        tie: number / 700 % 3,
        text: "{}".to_owned(),
    };
    (0..80_000).map(row).collect()
}

fn everywhere(order: Order, most: usize) -> Search {
    Search {
        since: None,
        until: None,
        cursors: vec![None; 12],
        is_wanted: vec![true; 12],
        employees: vec![7, 1 << 32, 9],
        last_read: 7,
        order,
        most,
    }
}

#[tokio::test]
async fn rows_are_found_across_the_borders_of_blocks() {
    let stored = Stored::of(Redis::start().await, many_rows()).await;
    let entries = stored.snapshot.entries.clone();
    for order in [Order::Ascending, Order::Descending] {
        stored.agrees(&everywhere(order, 3)).await.unwrap();
        for ordinal in [32_767, 32_768, 65_535, 65_536, 79_999] {
            for skip in [0, 1, 600, 20_000] {
                let bound = Bound {
                    key: entries[ordinal].key,
                    skip,
                };
                let mut search = Search {
                    since: Some(bound.key),
                    ..everywhere(order, 40_000)
                };
                stored.agrees(&search).await.unwrap();
                search.until = search.since.take();
                stored.agrees(&search).await.unwrap();
                search.until = None;
                search.most = 2;
                search.cursors = vec![Some(bound); 12];
                stored.agrees(&search).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn what_is_gone_or_damaged_is_said() {
    let stored = Stored::of(Redis::start().await, many_rows()).await;
    let search = everywhere(Order::Descending, 40_000);
    let mut connection = stored.connection.clone();
    let keys = stored.keys.clone();
    let wrong: Vec<u8> = [u8::MAX; 4].repeat(80_000);
    for key in [
        keys.lanes(1, 1),
        keys.employee_rows(1, 0),
        keys.employees(1),
    ] {
        let value: Vec<u8> = connection.get(&key).await.unwrap();
        for (damage, code) in [(None, MISSING), (Some(&value[..value.len() - 1]), MISSING)] {
            let () = match damage {
                None => connection.del(&key).await.unwrap(),
                Some(damage) => connection.set(&key, damage).await.unwrap(),
            };
            let code = match damage.is_some() && key == keys.employees(1) {
                true => DAMAGED,
                false => code,
            };
            assert_eq!(
                stored.refusal(&stored.find_employees(&search)).await,
                code,
                "{key}"
            );
            if key == keys.lanes(1, 1) {
                assert_eq!(stored.refusal(&stored.find(&search)).await, code, "{key}");
            }
        }
        let () = connection.set(&key, &value).await.unwrap();
        stored.agrees(&search).await.unwrap();
    }
    // Ordinals beyond the rows, and rows of an employee that end before they begin.
    let () = connection
        .set(keys.employee_rows(1, 0), &wrong)
        .await
        .unwrap();
    assert_eq!(
        stored.refusal(&stored.find_employees(&search)).await,
        DAMAGED
    );
    let mut index: Vec<u8> = connection.get(keys.employees(1)).await.unwrap();
    index[20..24].fill(u8::MAX);
    let () = connection.set(keys.employees(1), &index).await.unwrap();
    assert_eq!(
        stored.refusal(&stored.find_employees(&search)).await,
        DAMAGED
    );
    // Something else under the name.
    let () = connection.del(keys.lanes(1, 1)).await.unwrap();
    let _: u64 = connection.rpush(keys.lanes(1, 1), "x").await.unwrap();
    assert_eq!(stored.refusal(&stored.find(&search)).await, "WRONGTYPE");
}

#[tokio::test]
async fn rows_are_read_wherever_they_lie() {
    let long = |letter: &str| format!("{{\"x\":\"{}\"}}", letter.repeat(700_000));
    let rows = ["a", "b", "c", "d"].map(|letter| MadeRow {
        kind: 0,
        priority: Priority::Low,
        employee: 7,
        time: 1.0,
        tie: u64::from(letter.as_bytes()[0]),
        text: if letter == "b" {
            "{}".to_owned()
        } else {
            long(letter)
        },
    });
    let stored = Stored::of(Redis::start().await, rows.to_vec()).await;
    let ranges: Vec<Range<u64>> = stored
        .snapshot
        .entries
        .iter()
        .map(|entry| entry.row.clone())
        .collect();
    let read = |chosen: &[usize]| {
        let chosen: Vec<_> = chosen.iter().map(|row| ranges[*row].clone()).collect();
        ReadRows::new(&stored.keys, 1, chosen.iter())
    };
    for chosen in [&[0][..], &[1], &[2], &[3], &[1, 3], &[2, 1], &[1, 1], &[]] {
        let texts: String = chosen
            .iter()
            .map(|row| &*stored.snapshot.rows[*row].text)
            .collect();
        assert_eq!(
            stored.call(&read(chosen)).await,
            texts.as_bytes(),
            "{chosen:?}"
        );
    }
    let mut connection = stored.connection.clone();
    let (report, identity) = (
        domain::contract::document::Document::Report,
        domain::contract::document::Encoding::Identity,
    );
    let () = connection
        .del(stored.keys.block(1, report, identity, 1))
        .await
        .unwrap();
    assert_eq!(stored.call(&read(&[0])).await.len(), rows[0].text.len());
    for gone in [2, 3] {
        assert_eq!(stored.refusal(&read(&[gone])).await, MISSING);
    }
}
