//! Incidents of all employees in the order of time: a page of them, or all as a stream.

use std::rc::Rc;

use domain::contract::record::{Bodies, Current};
use domain::settings::Settings;
use http::Method;
use http::request::Parts;

use super::Representation;
use crate::cache::{self, Page};
use crate::problem::Problem;
use crate::reply::{Body, Reply, Rest};
use crate::snapshot::{self, Snapshot};
use crate::store::{Store, StoreError};
use crate::timeline::format::{self, Format};
use crate::timeline::plan::{PlannedLane, plan};
use crate::timeline::question::Question;
use crate::timeline::rows::{Frame, Rows};
use crate::timeline::search::Search;
use crate::{conditional, negotiate};

/// Where pages are.
const PATH: &str = "/incidents/timeline";

/// What is asked, and how it is to be answered.
struct Request<'a> {
    question: Question,
    format: Format,
    settings: &'a Settings,
    /// Whether only the head is wanted.
    is_head: bool,
}

/// What was found: the head's field with the next page, and the body.
struct Found {
    link: Option<String>,
    rows: Rows,
}

/// Answers with the incidents that the query asks for.
///
/// # Errors
/// 400 for a query that cannot be meant; 406 where no form of the answer suits; 503 when they cannot be read.
pub(crate) async fn respond(
    request: &Parts,
    mut store: Store,
    mut snapshot: Rc<Snapshot>,
    now_ms: u64,
    settings: &Settings,
) -> Result<Reply, Problem> {
    let question = Question::read(request.uri.query().unwrap_or_default())?;
    let format = match question.format {
        Some(format) => format,
        None => format::negotiated(&request.headers)?,
    };
    let asked = Request {
        format,
        settings,
        is_head: request.method == Method::HEAD,
        question,
    };
    let mut tried_again = false;
    loop {
        let record = &snapshot.record;
        let lanes = plan(&asked.question, record)?;
        only_identity(request, record)?;
        let representation = Representation {
            record,
            etag: asked.etag(record),
            vary: asked.vary(),
            now_ms,
        };
        let changed_at_ms = record.published_at_ms;
        if conditional::not_modified(&request.headers, &representation.etag, changed_at_ms) {
            return Ok(representation.reply(304));
        }
        let reply = asked.head(representation.reply(200));
        if let Some(page) = cache::page(&representation.etag) {
            return Ok(whole(reply, &page, asked.format));
        }
        let etag = representation.etag;
        match asked
            .answer(&mut store, &snapshot, lanes, reply, etag)
            .await
        {
            // The snapshot was superseded so long ago that it is gone: there must be a newer one.
            Err(StoreError::Missing) if !tried_again => {
                tried_again = true;
                snapshot = snapshot::current(&mut store).await?;
            }
            answer => return Ok(answer?),
        }
    }
}

/// Answers are made for one request each, so they are not compressed.
fn only_identity(request: &Parts, record: &Current) -> Result<(), Problem> {
    let made = Bodies {
        identity: Some(record.report.identity.ok_or(StoreError::Damaged)?),
        ..Bodies::default()
    };
    negotiate::encoding(&request.headers, &made)?;
    Ok(())
}

impl Request<'_> {
    /// The strong entity tag. What is found depends on the report alone, whatever its generation; a table
    /// depends on the configured types, too.
    fn etag(&self, record: &Current) -> String {
        let types = self.settings.incident_types.iter();
        let columns: String = match self.format {
            Format::Csv => types
                .map(|kind| format!("{}:{},", kind.name, kind.field))
                .collect(),
            Format::Json | Format::Ndjson => String::new(),
        };
        let tag = self.question.tag(self.format, &columns);
        format!("\"{}-t{tag}\"", record.etag)
    }

    const fn vary(&self) -> &'static str {
        match self.question.format {
            Some(_) => super::VARY,
            None => format::VARY,
        }
    }

    fn head(&self, reply: Reply) -> Reply {
        match self.format {
            Format::Csv => reply.with(
                "content-disposition",
                "attachment; filename=\"incidents.csv\"",
            ),
            Format::Json | Format::Ndjson => reply,
        }
    }

    async fn answer(
        &self,
        store: &mut Store,
        snapshot: &Rc<Snapshot>,
        lanes: Vec<PlannedLane>,
        reply: Reply,
        etag: String,
    ) -> Result<Reply, StoreError> {
        let content_type = self.format.content_type();
        if self.is_head && self.question.limit(self.format).is_none() {
            // Of a stream, nothing is known before it is read.
            return Ok(reply.with("content-type", content_type));
        }
        let Found { link, mut rows } = self.find(store, snapshot, lanes).await?;
        let head = |reply: Reply| match &link {
            Some(link) => reply.with("link", link.as_str()),
            None => reply,
        };
        let bytes = rows.bytes();
        if self.is_head {
            let reply = match bytes {
                Some(bytes) => reply.describing(content_type, bytes),
                None => reply.with("content-type", content_type),
            };
            return Ok(head(reply));
        }
        let Some(first) = rows.next().await.transpose()? else {
            return Err(StoreError::Damaged);
        };
        if rows.has_ended() {
            let bytes = Rc::new(first);
            let page = Page { link, bytes };
            let reply = whole(reply, &page, self.format);
            cache::put_page(etag, page);
            return Ok(reply);
        }
        let reply = match bytes {
            Some(bytes) => reply.describing(content_type, bytes),
            None => reply.with("content-type", content_type),
        };
        let rest = Rest::Rows(Box::new(rows));
        let body = Body::Streamed { first, rest };
        Ok(Reply {
            body,
            ..head(reply)
        })
    }

    /// Finds the rows of a page, or the first of a stream.
    async fn find(
        &self,
        store: &mut Store,
        snapshot: &Rc<Snapshot>,
        lanes: Vec<PlannedLane>,
    ) -> Result<Found, StoreError> {
        let limit = self.question.limit(self.format);
        let mut search = Search::begin(store, snapshot, &self.question, lanes, limit).await?;
        let found = match limit {
            Some(limit) => search.next(store, limit).await?,
            None => Vec::new(),
        };
        let next = search.cursor().filter(|_| limit.is_some());
        let next = next.map(|cursor| self.question.address(PATH, &cursor));
        let frame = match self.format {
            Format::Json => Frame::page(next.as_deref(), search.total()),
            Format::Ndjson => Frame::lines(),
            Format::Csv => Frame::table(),
        };
        let (store, snapshot) = (store.take(), Rc::clone(snapshot));
        let rows = Rows::page(store, snapshot, self.format, frame, found, self.settings);
        Ok(Found {
            link: next.map(|next| format!("<{next}>; rel=\"next\"")),
            rows: match limit {
                Some(_) => rows,
                None => rows.and_then(search),
            },
        })
    }
}

fn whole(reply: Reply, page: &Page, format: Format) -> Reply {
    let bytes = page.bytes.len() as u64;
    let mut reply = reply.describing(format.content_type(), bytes);
    if let Some(link) = &page.link {
        reply = reply.with("link", link.as_str());
    }
    let body = Body::Whole(page.bytes.clone());
    Reply { body, ..reply }
}
