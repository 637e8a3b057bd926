//! What is asked: the parameters of a query, read strictly, so that nobody gets an answer to a question that
//! was not meant.

use std::fmt::Write as _;

use domain::contract::scripts::Order;
use domain::contract::timeline::TimeKey;
use domain::incident::Priority;
use http::StatusCode;
use sha2::{Digest as _, Sha256};

use super::cursor::{Cursor, QuestionHash};
use super::format::Format;
use super::moment;
use crate::problem::Problem;

/// The longest query that is read, in bytes.
const MAX_QUERY: usize = 8192;

/// Employees that one question may name.
const MAX_EMPLOYEES: usize = 100;

/// Incidents of a page where no limit is given.
const DEFAULT_LIMIT: usize = 100;

/// Incidents of a page at most.
const MAX_LIMIT: usize = 10_000;

/// Every parameter.
pub(crate) const PARAMETERS: [&str; 9] = [
    "priority", "type", "employee", "since", "until", "order", "limit", "cursor", "format",
];

/// A question. What it does not restrict is empty or absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// Of these priorities, ascending.
    pub(crate) priorities: Vec<Priority>,
    /// Of these types, in the order of their names.
    pub(crate) types: Vec<String>,
    /// Of these employees, ascending.
    pub(crate) employees: Vec<u64>,
    /// Not before this moment.
    pub(crate) since: Option<Moment>,
    /// Before this moment.
    pub(crate) until: Option<Moment>,
    /// What comes first.
    pub(crate) order: Order,
    /// The limit that was given.
    limit: Option<usize>,
    /// Where to go on.
    pub(crate) cursor: Option<Cursor>,
    /// The form that was asked for by the parameter.
    pub(crate) format: Option<Format>,
}

/// A moment and how the client wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) time: TimeKey,
    text: String,
}

impl Question {
    /// Reads a query.
    ///
    /// # Errors
    /// 400 with the parameter, what was found and what is accepted.
    pub(crate) fn read(query: &str) -> Result<Self, Problem> {
        let parameters = Parameters::read(query)?;
        let mut question = Self {
            priorities: parameters.list("priority", &priorities(), |word| {
                Priority::from_name(word.as_bytes())
            })?,
            types: parameters.list("type", "types of incidents", |word| Some(word.to_owned()))?,
            employees: parameters.list("employee", &employees(), employee)?,
            since: parameters.one("since", MOMENT, moment)?,
            until: parameters.one("until", MOMENT, moment)?,
            order: parameters
                .one("order", "desc (the newest first) or asc", order)?
                .unwrap_or(Order::Descending),
            limit: parameters.one("limit", "a whole number from 1 to 10000", limit)?,
            cursor: None,
            format: parameters.one("format", "json, ndjson or csv", format)?,
        };
        if question.employees.len() > MAX_EMPLOYEES {
            return Err(refused(
                "employee",
                &question.employees.len().to_string(),
                &employees(),
            ));
        }
        question.cursor = parameters.one("cursor", CURSOR, |text| {
            let (cursor, hash) = Cursor::read(text)?;
            (hash == question.hash()).then_some(cursor)
        })?;
        Ok(question)
    }

    /// How many incidents are wanted in this form; `None`: all.
    pub(crate) fn limit(&self, format: Format) -> Option<usize> {
        let default = (format == Format::Json).then_some(DEFAULT_LIMIT);
        self.limit.or(default)
    }

    /// The question in one notation, whatever the client's was: but for where to go on, and in which form.
    fn canonical(&self) -> String {
        let mut text = String::new();
        let mut add = |name: &str, value: &str| {
            if !value.is_empty() {
                let separator = if text.is_empty() { "" } else { "&" };
                let _ = write!(text, "{separator}{name}={}", escaped(value));
            }
        };
        add(
            "priority",
            &joined(self.priorities.iter().map(|priority| priority.name())),
        );
        add("type", &joined(&self.types));
        add(
            "employee",
            &joined(self.employees.iter().map(u64::to_string)),
        );
        for (name, moment) in [("since", &self.since), ("until", &self.until)] {
            add(name, moment.as_ref().map_or("", |moment| &moment.text));
        }
        if self.order == Order::Ascending {
            add("order", "asc");
        }
        text
    }

    /// Stands for the filters and the order.
    fn hash(&self) -> QuestionHash {
        let unwritten = |moment: &Option<Moment>| {
            let moment = moment.as_ref()?;
            let text = moment.time.bits().to_string();
            Some(Moment {
                text,
                ..moment.clone()
            })
        };
        // However a moment is written, it is the same question.
        let question = Self {
            since: unwritten(&self.since),
            until: unwritten(&self.until),
            ..self.clone()
        };
        let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(question.canonical()).into();
        [a, b, c, d]
    }

    /// Stands for all that makes an answer in this form what it is, beside the snapshot and the `columns` of
    /// a table. What the client gave is in it as it was given, since the address of the next page has it so.
    pub(crate) fn tag(&self, format: Format, columns: &str) -> String {
        let (asked, form) = (self.canonical(), format.name());
        let cursor = self.cursor_text(self.cursor.as_ref());
        let (limit, given) = (
            self.limit.unwrap_or(0),
            self.format.map_or("", Format::name),
        );
        let all = format!("{asked}&{limit}&{given}&{form}&{columns}&{cursor}");
        let digest: [u8; 32] = Sha256::digest(all).into();
        digest[..12].iter().fold(String::new(), |mut tag, byte| {
            let _ = write!(tag, "{byte:02x}");
            tag
        })
    }

    fn cursor_text(&self, cursor: Option<&Cursor>) -> String {
        cursor.map_or(String::new(), |cursor| cursor.to_text(self.hash()))
    }

    /// The address at which this question goes on at `cursor`.
    pub(crate) fn address(&self, path: &str, cursor: &Cursor) -> String {
        let mut address = format!("{path}?{}", self.canonical());
        let mut add = |name: &str, value: &str| {
            let separator = if address.ends_with('?') { "" } else { "&" };
            let _ = write!(address, "{separator}{name}={value}");
        };
        if let Some(limit) = self.limit {
            add("limit", &limit.to_string());
        }
        if let Some(format) = self.format {
            add("format", format.name());
        }
        add("cursor", &self.cursor_text(Some(cursor)));
        address
    }
}

const MOMENT: &str =
    "a date and time of RFC 3339, such as 2021-08-26T00:57:54Z, or seconds since 1970";

const CURSOR: &str =
    "what `next` of a page said, beside the same priority, type, employee, since, until and order";

fn priorities() -> String {
    format!(
        "a list of {}",
        joined(Priority::ALL.iter().map(|priority| priority.name()))
    )
}

fn employees() -> String {
    format!("a list of at most {MAX_EMPLOYEES} employees' ids, which are whole numbers")
}

/// Each employee has one notation: no leading zeros, no signs.
fn employee(text: &str) -> Option<u64> {
    let canonical = !text.starts_with(['0', '+']) || text == "0";
    text.parse().ok().filter(|_| canonical)
}

fn moment(text: &str) -> Option<Moment> {
    let time = TimeKey::new(moment::seconds(text)?)?;
    let text = text.to_owned();
    Some(Moment { time, text })
}

fn order(text: &str) -> Option<Order> {
    match text {
        "desc" => Some(Order::Descending),
        "asc" => Some(Order::Ascending),
        _ => None,
    }
}

fn limit(text: &str) -> Option<usize> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let limit = text.parse().ok()?;
    (is_plain && (1..=MAX_LIMIT).contains(&limit)).then_some(limit)
}

fn format(text: &str) -> Option<Format> {
    Format::ALL.into_iter().find(|format| format.name() == text)
}

fn joined(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let words: Vec<_> = words.into_iter().collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    words.join(",")
}

/// A query's names and values, each name once.
struct Parameters(Vec<(&'static str, String)>);

impl Parameters {
    fn read(query: &str) -> Result<Self, Problem> {
        if query.len() > MAX_QUERY {
            return Err(bad_request(format!(
                "The query has {} bytes; at most {MAX_QUERY} are read.",
                query.len()
            )));
        }
        let mut found: Vec<(&'static str, String)> = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let known = unescaped(name)
                .and_then(|name| PARAMETERS.into_iter().find(|known| *known == name));
            let Some(name) = known else {
                return Err(bad_request(format!(
                    "There is no parameter {}; there are {}.",
                    shown(name),
                    PARAMETERS.join(", ")
                )));
            };
            if found.iter().any(|(earlier, _)| *earlier == name) {
                return Err(bad_request(format!(
                    "The parameter `{name}` stands more than once. Give it once; where it takes \
                     several values, with commas between them."
                )));
            }
            let Some(value) = unescaped(value) else {
                return Err(refused(
                    name,
                    value,
                    "text in UTF-8, where %XX stands for a byte",
                ));
            };
            found.push((name, value));
        }
        Ok(Self(found))
    }

    fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| *known == name)?;
        Some(value)
    }

    fn one<T>(
        &self,
        name: &str,
        accepted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let value = self.get(name);
        let read = |value| read(value).ok_or_else(|| refused(name, value, accepted));
        value.map(read).transpose()
    }

    /// A list, sorted; each of its values may stand in it once.
    fn list<T: Ord>(
        &self,
        name: &str,
        accepted: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, Problem> {
        let Some(value) = self.get(name) else {
            return Ok(Vec::new());
        };
        let mut list = Vec::new();
        for item in value.split(',') {
            let read = read(item).filter(|_| !item.is_empty());
            list.push(read.ok_or_else(|| refused(name, item, accepted))?);
        }
        list.sort_unstable();
        match list.windows(2).any(|pair| pair[0] == pair[1]) {
            true => Err(refused(
                name,
                value,
                &format!("{accepted}, each of them once"),
            )),
            false => Ok(list),
        }
    }
}

/// The answer to a parameter that has another value than it may.
pub(super) fn refused(name: &str, found: &str, accepted: &str) -> Problem {
    bad_request(format!(
        "The parameter `{name}` is {}; it must be {accepted}.",
        shown(found)
    ))
}

fn bad_request(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// What a client sent, such that it can be shown to anybody: its beginning, without what does not print.
fn shown(text: &str) -> String {
    const MOST: usize = 40;
    let mut shown = String::from("`");
    for character in text.chars().take(MOST) {
        match character {
            '`' => shown.push('\''),
            ' '..='~' => shown.push(character),
            _ => shown.extend(character.escape_unicode()),
        }
    }
    shown.push('`');
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

/// What a part of a query stands for (RFC 3986, section 2.1). A plus sign stands for itself, as in
/// `+02:00`, since no value has a blank that it could stand for.
fn unescaped(text: &str) -> Option<String> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = text.bytes();
    let mut found = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        found.push(match byte {
            b'%' => {
                let number = digit(bytes.next()?)? << 4 | digit(bytes.next()?)?;
                u8::try_from(number).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(found).ok()
}

/// A value as a query has it. A comma separates nothing there, so that it may stand as it is.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b',' | b':' => {
                text.push(char::from(byte));
            }
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Reply;
    use domain::contract::timeline::RowKey;
    use proptest::prelude::*;

    fn read(query: &str) -> Question {
        match Question::read(query) {
            Ok(question) => question,
            Err(problem) => panic!("{query}: {:?}", Reply::from(problem).json()),
        }
    }

    fn refusal(query: &str) -> String {
        let Err(problem) = Question::read(query) else {
            panic!("{query} is accepted");
        };
        let reply = Reply::from(problem);
        assert_eq!(reply.status, 400, "{query}");
        reply.json()["detail"].as_str().unwrap().to_owned()
    }

    fn cursor() -> Cursor {
        Cursor {
            key: RowKey::before(TimeKey::new(5.0).unwrap()),
            kind: "denial".to_owned(),
            priority: Priority::Low,
            employee: 7,
            given: 1,
        }
    }

    #[test]
    fn what_is_asked_is_understood() {
        let plain = read("");
        assert_eq!(plain, read("&&"));
        assert_eq!(plain.limit(Format::Json), Some(100));
        assert_eq!(plain.limit(Format::Csv), None);
        assert_eq!(plain.order, Order::Descending);
        let full = read(
            "priority=critical,low&type=other%2Cdenial&employee=18446744073709551615,0&\
             since=2021-08-26T02:57:54%2B02:00&until=1e10&order=asc&limit=10000&format=csv",
        );
        assert_eq!(full.priorities, [Priority::Low, Priority::Critical]);
        assert_eq!(full.types, ["denial", "other"]);
        assert_eq!(full.employees, [0, u64::MAX]);
        let time = |seconds| TimeKey::new(seconds);
        assert_eq!(
            full.since.as_ref().map(|since| since.time),
            time(1_629_939_474.0)
        );
        assert_eq!(full.until.as_ref().map(|until| until.time), time(1e10));
        assert_eq!(
            (full.order, full.format),
            (Order::Ascending, Some(Format::Csv))
        );
        assert_eq!(full.limit(Format::Ndjson), Some(10_000));
        let unescaped = read("since=2021-08-26T02:57:54+02:00");
        assert_eq!(unescaped.since, full.since);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        let long = "x".repeat(100);
        let many: Vec<String> = (0..101).map(|id: u32| id.to_string()).collect();
        for (query, name, found) in [
            ("prioritty=low", "prioritty", "there are priority, type"),
            ("Priority=low", "Priority", "there are"),
            ("%70riority=hgih", "priority", "`hgih`"),
            ("a%zz=1", "a%zz", "there are"),
            ("=1", "``", "there are"),
            ("priority=low&priority=high", "priority", "more than once"),
            ("priority", "priority", "``"),
            ("priority=", "priority", "low,medium,high,critical"),
            ("priority=low,", "priority", "``"),
            ("priority=Low", "priority", "`Low`"),
            ("priority=low,high,low", "priority", "each of them once"),
            ("priority=%6", "priority", "%XX"),
            ("priority=%ff", "priority", "UTF-8"),
            ("priority=%00", "priority", "`\\u{0}`"),
            ("type=", "type", "``"),
            ("type=a,,b", "type", "``"),
            ("type=a,a", "type", "once"),
            ("employee=07", "employee", "`07`"),
            ("employee=-1", "employee", "`-1`"),
            ("employee=+1", "employee", "`+1`"),
            ("employee=18446744073709551616", "employee", "whole numbers"),
            ("employee=7,7", "employee", "once"),
            (&format!("employee={}", many.join(",")), "employee", "`101`"),
            ("since=yesterday", "since", "RFC 3339"),
            ("until=", "until", "``"),
            ("until=1e999", "until", "`1e999`"),
            ("order=up", "order", "asc"),
            ("limit=0", "limit", "from 1 to 10000"),
            ("limit=10001", "limit", "`10001`"),
            ("limit=+5", "limit", "`+5`"),
            ("limit=99999999999999999999999", "limit", "1 to 10000"),
            ("cursor=", "cursor", "`next`"),
            ("cursor=AAAA", "cursor", "`AAAA`"),
            ("format=xml", "format", "ndjson"),
            (&format!("format={long}"), "format", "x`…"),
            ("format=%60%3Cb%3E", "format", "`'<b>`"),
        ] {
            let detail = refusal(query);
            assert!(detail.contains(name), "{query}: {detail}");
            assert!(detail.contains(found), "{query}: {detail}");
            assert!(detail.len() < 300, "{detail}");
        }
        let detail = refusal(&format!("limit={}", "1".repeat(MAX_QUERY)));
        assert!(detail.contains("8198 bytes"), "{detail}");
    }

    #[test]
    fn a_cursor_belongs_to_one_question() {
        let asked = "priority=low&since=2021-08-26T00:57:54%2B00:00&limit=5";
        let address = read(asked).address("/p", &cursor());
        let (_, query) = address.split_once('?').unwrap();
        assert!(query.starts_with(asked), "{query}");
        let next = read(query);
        assert_eq!(next.cursor, Some(cursor()));
        assert_eq!(next.address("/p", &cursor()), address);
        // Neither the limit, nor the form, nor the notation is a part of the question.
        let (_, text) = query.split_once("&cursor=").unwrap();
        for query in [
            "priority=low&since=1629939474&limit=7",
            "since=1629939474.0&priority=low&format=csv&order=desc",
        ] {
            assert_eq!(
                read(&format!("{query}&cursor={text}")).cursor,
                Some(cursor())
            );
        }
        for query in [
            "priority=low",
            "priority=high&since=1629939474",
            "priority=low&until=1629939474",
            "priority=low&since=1629939474&order=asc",
            "priority=low&since=1629939474&employee=7",
        ] {
            let detail = refusal(&format!("{query}&cursor={text}"));
            assert!(detail.contains("`cursor`"), "{detail}");
        }
    }

    #[test]
    fn an_address_has_no_more_than_was_asked() {
        let address = read("").address("/p", &cursor());
        assert!(address.starts_with("/p?cursor="), "{address}");
    }

    #[test]
    fn each_answer_has_a_tag_of_its_own() {
        let with_cursor = read("limit=1").address("/p", &cursor());
        let (_, with_cursor) = with_cursor.split_once('?').unwrap();
        let queries = [
            "",
            "limit=1",
            with_cursor,
            "priority=low",
            "type=low",
            "order=asc",
            "format=json",
        ];
        let mut tags: Vec<String> = queries
            .map(|query| read(query).tag(Format::Json, ""))
            .to_vec();
        tags.push(read("").tag(Format::Csv, ""));
        tags.push(read("").tag(Format::Csv, "ip"));
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), queries.len() + 2);
        let tag = |query| read(query).tag(Format::Json, "");
        assert_eq!(
            tag("order=desc&priority=high,low"),
            tag("priority=low,high")
        );
    }

    proptest! {
        #[test]
        fn no_query_panics(query in ".{0,60}", name in prop::sample::select(&PARAMETERS), value in "[ -~]{0,40}") {
            let _ = Question::read(&query);
            let _ = Question::read(&format!("{name}={value}"));
        }

        #[test]
        fn a_value_is_read_as_it_was_escaped(value in ".{0,40}") {
            prop_assert_eq!(unescaped(&escaped(&value)), Some(value));
        }
    }
}
