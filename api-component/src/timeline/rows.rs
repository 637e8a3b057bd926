//! Reads the rows that were found, and writes them in the form that was asked for, a piece at a time.

use std::collections::VecDeque;
use std::mem::take;
use std::ops::Range;
use std::rc::Rc;

use domain::contract::record::BLOCK_BYTES;
use domain::item::{CSV_HEADER, CSV_LINE_END, Item};
use domain::settings::Settings;

use super::format::Format;
use super::search::{FoundRow, Search};
use crate::snapshot::Snapshot;
use crate::store::{Store, StoreError};

/// Rows that are read at a time: Redis serves nobody else meanwhile.
const MOST_ROWS: usize = 1000;

/// Bytes that are read at a time, but for a row that is longer by itself.
const MOST_BYTES: u64 = 256 << 10;

/// The longest row that a line of CSV is made of: it has to be there as a whole.
const MOST_CSV_BYTES: u64 = 16 << 20;

/// Where rows come from.
enum Origin {
    /// All that are wanted were found.
    Page,
    /// They are searched for while the former ones are sent.
    Search(Box<Search>),
}

/// What stands around the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Frame {
    /// That of a page of `total` incidents, the next of which is at `next`.
    pub(crate) fn page(next: Option<&str>, total: u64) -> Self {
        // An address has no character that JSON would escape.
        let next = next.map_or("null".to_owned(), |next| format!("\"{next}\""));
        Self {
            head: b"{\"items\":[".to_vec(),
            tail: format!("],\"next\":{next},\"total\":{total}}}").into_bytes(),
        }
    }

    /// That of a table.
    pub(crate) fn table() -> Self {
        Self {
            head: [CSV_HEADER, CSV_LINE_END].concat().into_bytes(),
            tail: Vec::new(),
        }
    }

    /// That of lines.
    pub(crate) fn lines() -> Self {
        Self::default()
    }
}

/// An answer's body that is read while it is sent.
pub(crate) struct Rows {
    store: Store,
    snapshot: Rc<Snapshot>,
    format: Format,
    /// By type: the member of a row that says whom it concerns.
    identity_fields: Vec<Option<String>>,
    origin: Origin,
    /// Found and not yet read.
    found: VecDeque<FoundRow>,
    /// What is left of a row that is read in pieces, and what follows it.
    long: Option<(Range<u64>, Vec<u8>)>,
    frame: Frame,
    is_first: bool,
    has_begun: bool,
    has_ended: bool,
}

impl Rows {
    /// These rows.
    pub(crate) fn page(
        store: Store,
        snapshot: Rc<Snapshot>,
        format: Format,
        frame: Frame,
        rows: Vec<FoundRow>,
        settings: &Settings,
    ) -> Self {
        let field = |name: &str| {
            let mut types = settings.incident_types.iter();
            let kind = types.find(|kind| kind.name == name)?;
            Some(kind.field.clone())
        };
        let types = snapshot.record.types.iter();
        Self {
            identity_fields: types.map(|kind| field(&kind.name)).collect(),
            store,
            snapshot,
            format,
            origin: Origin::Page,
            found: rows.into(),
            long: None,
            frame,
            is_first: true,
            has_begun: false,
            has_ended: false,
        }
    }

    /// And then all that `search` goes on to find.
    pub(crate) fn and_then(self, search: Search) -> Self {
        let origin = Origin::Search(Box::new(search));
        Self { origin, ..self }
    }

    /// How long the body is: to be asked before it is read; `None` where only that would tell.
    pub(crate) fn bytes(&self) -> Option<u64> {
        let between = match (&self.origin, self.format) {
            (Origin::Search(_), _) | (_, Format::Csv) => return None,
            // Commas between them, or a line's end behind each.
            (_, Format::Json) => self.found.len().saturating_sub(1),
            (_, Format::Ndjson) => self.found.len(),
        };
        let mut empty = Vec::new();
        let item = Item {
            employee: 0,
            row: b"",
        };
        item.write_json(&mut empty);
        let frame = self.frame.head.len() + self.frame.tail.len() + between;
        let item = |row: &FoundRow| {
            let more_digits = u64::from(row.employee.checked_ilog10().unwrap_or(0));
            empty.len() as u64 + more_digits + (row.row.end - row.row.start)
        };
        Some(frame as u64 + self.found.iter().map(item).sum::<u64>())
    }

    /// Whether the last piece was given.
    pub(crate) const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The next piece; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Result<Vec<u8>, StoreError>> {
        if self.has_ended {
            return None;
        }
        let piece = self.piece().await;
        self.has_ended |= piece.is_err();
        Some(piece)
    }

    async fn piece(&mut self) -> Result<Vec<u8>, StoreError> {
        let mut out = take(&mut self.frame.head);
        self.renew_deadline();
        if let Some((row, after)) = self.long.take() {
            self.read_long(row, after, &mut out).await?;
        } else {
            self.search_on().await?;
            self.read_some(&mut out).await?;
        }
        self.has_begun = true;
        let nothing_is_left = self.found.is_empty() && self.long.is_none();
        if nothing_is_left && matches!(self.origin, Origin::Page) {
            out.append(&mut self.frame.tail);
            self.has_ended = true;
        }
        Ok(out)
    }

    /// An answer that has not begun is due within the time of its request; then each piece has its own.
    fn renew_deadline(&mut self) {
        if self.has_begun {
            self.store.expect_block();
        }
    }

    /// Finds the next rows, where few are left of those that were found.
    async fn search_on(&mut self) -> Result<(), StoreError> {
        let Origin::Search(search) = &mut self.origin else {
            return Ok(());
        };
        if self.found.len() >= MOST_ROWS {
            return Ok(());
        }
        let rows = search.next(&mut self.store, MOST_ROWS).await?;
        if rows.len() < MOST_ROWS {
            if !search.is_done() {
                return Err(StoreError::Damaged);
            }
            self.origin = Origin::Page;
        }
        self.found.extend(rows);
        Ok(())
    }

    /// Reads as many of the rows that were found as may be read at a time.
    async fn read_some(&mut self, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let (mut count, mut bytes) = (0, 0);
        for row in self.found.iter().take(MOST_ROWS) {
            bytes += row.row.end - row.row.start;
            if count > 0 && bytes > MOST_BYTES {
                break;
            }
            count += 1;
        }
        let rows: Vec<FoundRow> = self.found.drain(..count).collect();
        match &rows[..] {
            [] => Ok(()),
            [row] if bytes > MOST_BYTES => self.begin_long(row, out).await,
            _ => {
                let ranges = rows.iter().map(|row| &row.row);
                let generation = self.snapshot.record.generation;
                let read = self.store.read_rows(generation, ranges).await?;
                let mut rest = &read[..];
                out.reserve(read.len() + rows.len() * 64);
                for row in &rows {
                    let length = usize::try_from(row.row.end - row.row.start);
                    let length = length.map_err(|_| StoreError::Damaged)?;
                    let (text, after) = rest.split_at_checked(length).ok_or(StoreError::Damaged)?;
                    rest = after;
                    self.write(row, text, out)?;
                }
                Ok(())
            }
        }
    }

    /// A row that is longer than what is read at a time.
    async fn begin_long(&mut self, row: &FoundRow, out: &mut Vec<u8>) -> Result<(), StoreError> {
        if self.format == Format::Csv {
            if row.row.end - row.row.start > MOST_CSV_BYTES {
                return Err(StoreError::TooLong);
            }
            let (mut text, mut rest) = (Vec::new(), row.row.clone());
            while !rest.is_empty() {
                self.renew_deadline();
                text.extend(self.long_piece(&mut rest).await?);
            }
            return self.write(row, &text, out);
        }
        self.separate(out);
        let mut empty = Vec::new();
        let item = Item {
            employee: row.employee,
            row: b"",
        };
        item.write_json(&mut empty);
        let after = empty.split_off(empty.len() - 1);
        out.append(&mut empty);
        self.read_long(row.row.clone(), after, out).await
    }

    async fn read_long(
        &mut self,
        mut rest: Range<u64>,
        after: Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let piece = self.long_piece(&mut rest).await?;
        // As in [`Item::write_json`].
        let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
        out.extend(
            piece
                .iter()
                .map(|byte| if is_break(byte) { b' ' } else { *byte }),
        );
        match rest.is_empty() {
            true => {
                out.extend_from_slice(&after);
                self.end_item(out);
            }
            false => self.long = Some((rest, after)),
        }
        Ok(())
    }

    /// Takes a piece off `rest`.
    async fn long_piece(&mut self, rest: &mut Range<u64>) -> Result<Vec<u8>, StoreError> {
        let piece = rest.start..rest.end.min(rest.start + BLOCK_BYTES as u64);
        let generation = self.snapshot.record.generation;
        let read = self
            .store
            .read_rows(generation, std::iter::once(&piece))
            .await?;
        rest.start = piece.end;
        Ok(read)
    }

    fn write(&mut self, row: &FoundRow, text: &[u8], out: &mut Vec<u8>) -> Result<(), StoreError> {
        if !(text.starts_with(b"{") && text.ends_with(b"}")) {
            return Err(StoreError::Damaged);
        }
        let item = Item {
            employee: row.employee,
            row: text,
        };
        self.separate(out);
        match self.format {
            Format::Json | Format::Ndjson => item.write_json(out),
            Format::Csv => {
                let field = self
                    .identity_fields
                    .get(row.kind)
                    .and_then(Option::as_deref);
                item.write_csv(out, field)
                    .map_err(|_| StoreError::Damaged)?;
            }
        }
        self.end_item(out);
        Ok(())
    }

    fn separate(&mut self, out: &mut Vec<u8>) {
        if !take(&mut self.is_first) && self.format == Format::Json {
            out.push(b',');
        }
    }

    fn end_item(&self, out: &mut Vec<u8>) {
        match self.format {
            Format::Json => {}
            Format::Ndjson => out.push(b'\n'),
            Format::Csv => out.extend_from_slice(CSV_LINE_END.as_bytes()),
        }
    }
}
