//! Ours: the refresher's own stages, one after the other.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use bytes::Bytes;
use domain::contract::document::Document;
use domain::contract::record::{
    Bodies, Current, Freshness, IdentitiesSummary, Payload, TypeSummary, VERSION,
};
use domain::incident::IncidentType;
use domain::settings::credentials::Secret;
use grouping::attribute::Identities;
use grouping::encode::{Encoded, encode};
use grouping::pack::pack;
use grouping::report::{Assigned, Report};
use grouping::rows::Run;
use rayon::prelude::*;
use refresher::leadership::lease::{Leadership, Lease};
use refresher::refresh::publish::{Block, Publisher, Snapshot, blocks, indexes};
use refresher::store::Store;

use super::Answers;

/// Answers of fewer bytes are parsed on one thread: handing them over would take longer.
const SMALL: u64 = 1 << 20;

/// Parses everything.
fn parse(answers: &Answers) -> Result<(Identities, Vec<Option<Run>>)> {
    let rows = answers.types.iter().zip(&answers.rows);
    let run = |(kind, body): (&IncidentType, &Bytes)| Run::parse(kind, body.clone()).map(Some);
    let identities = || Identities::parse(&answers.identities);
    let (runs, identities) = if answers.bytes() < SMALL {
        (rows.map(run).collect(), identities())
    } else {
        let rows: Vec<_> = rows.collect();
        let runs = || rows.into_par_iter().with_max_len(1).map(run).collect();
        rayon::join(runs, identities)
    };
    let runs: Result<_, _> = runs;
    Ok((identities?, runs?))
}

/// From the bytes to the report.
pub(super) fn report(answers: &Answers) -> Result<Bytes> {
    let (identities, runs) = parse(answers)?;
    Ok(Report::build(&answers.types, runs, &identities)?.json)
}

/// Notes what each stage takes.
struct Watch {
    since: Instant,
    stages: Vec<(String, f64)>,
}

impl Watch {
    fn start() -> Self {
        Self {
            since: Instant::now(),
            stages: Vec::new(),
        }
    }

    fn lap(&mut self, stage: &str) {
        let now = Instant::now();
        let took = (now - self.since).as_secs_f64();
        self.stages.push((stage.to_owned(), took));
        self.since = now;
    }
}

/// From the bytes to the published snapshot: what each stage took, each of `times`. The answers are
/// read anew each time, since a refresh lets them go as soon as the report is written.
pub(super) fn whole(data: &Path, times: u32, redis: &str) -> Result<Vec<Vec<(String, f64)>>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let url = Secret::new(redis.to_owned());
    let mut all = Vec::new();
    for time in 0..times {
        let store = Arc::new(Store::new(&url, &format!("bench{time}"))?);
        let mut target = runtime.block_on(Target::new(store))?;
        let answers = Answers::load(data)?;
        let mut watch = Watch::start();
        let kept = keep(&answers)?;
        watch.lap("hash and keep the answers");
        let (identities, runs) = parse(&answers)?;
        watch.lap("parse");
        let Answers { types, rows, .. } = answers;
        drop(rows);
        let assigned = Assigned::new(&runs, &identities);
        watch.lap("attribute");
        let report = assigned.write(&types, runs)?;
        watch.lap("merge and write");
        let hash = blake3::hash(&report.json);
        watch.lap("hash the report");
        let encoded = encode(&report, target.generation)?;
        watch.lap("compress (gzip, zstd, br)");
        let snapshot = target.snapshot(&types, &report, &hash, encoded, kept);
        runtime.block_on(target.publish(snapshot))?;
        watch.lap("publish");
        all.push(watch.stages);
        runtime.block_on(target.clear())?;
    }
    Ok(all)
}

/// What a refresh that finds nothing new takes: the answers' hashes, and the record renewed.
pub(super) fn unchanged(answers: &Answers, times: u32, redis: &str) -> Result<Vec<f64>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let store = Arc::new(Store::new(&Secret::new(redis.to_owned()), "unchanged")?);
    let mut target = runtime.block_on(Target::new(store))?;
    let (identities, runs) = parse(answers)?;
    let report = Report::build(&answers.types, runs, &identities)?;
    let hash = blake3::hash(&report.json);
    let encoded = encode(&report, target.generation)?;
    let snapshot = target.snapshot(&answers.types, &report, &hash, encoded, keep(answers)?);
    let record = snapshot.record.clone();
    runtime.block_on(target.publish(snapshot))?;
    let mut seconds = Vec::new();
    for _ in 0..times {
        let start = Instant::now();
        runtime.block_on(target.renew(answers, record.clone()))?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    runtime.block_on(target.clear())?;
    Ok(seconds)
}

struct Kept {
    payload: Payload,
    packed: Bytes,
}

/// The answers as they are kept beside the snapshot; the identity map last.
fn keep(answers: &Answers) -> Result<Vec<Kept>> {
    let all: Vec<&Bytes> = answers.bodies().collect();
    let kept = all.into_par_iter().with_max_len(1).map(|body| {
        let packed = Bytes::from(pack(body)?);
        Ok(Kept {
            payload: Payload {
                hash: blake3::hash(body).to_hex().to_string(),
                stored_bytes: packed.len() as u64,
            },
            packed,
        })
    });
    kept.collect()
}

/// A Redis that this process leads.
struct Target {
    store: Arc<Store>,
    lease: Lease,
    leadership: Leadership,
    publisher: Publisher,
    generation: u64,
    keys: Vec<String>,
}

impl Target {
    async fn new(store: Arc<Store>) -> Result<Self> {
        let mut lease = Lease::seek(Arc::clone(&store));
        let leadership = lease.gained().await;
        let mut publisher = Publisher::new(Arc::clone(&store), Duration::from_secs(60));
        publisher.reload().await?;
        let generation = publisher.next_generation().await?;
        Ok(Self {
            store,
            lease,
            leadership,
            publisher,
            generation,
            keys: Vec::new(),
        })
    }

    fn snapshot(
        &mut self,
        types: &[IncidentType],
        report: &Report,
        hash: &blake3::Hash,
        encoded: Vec<Encoded>,
        kept: Vec<Kept>,
    ) -> Snapshot {
        let (keys, generation) = (&self.store.keys, self.generation);
        let mut bodies = indexes(keys, generation, report);
        let mut made = [Bodies::default(); Document::ALL.len()];
        for Encoded {
            document,
            encoding,
            body,
        } in encoded
        {
            let place = Document::ALL.iter().position(|known| *known == document);
            made[place.unwrap_or_default()].set(encoding, body.len() as u64);
            bodies.extend(blocks(&body, |number| {
                keys.block(generation, document, encoding, number)
            }));
        }
        let freshness = |kept: &Kept| Freshness {
            good_at_ms: Some(1),
            stale: false,
            error: None,
            payload: Some(kept.payload.clone()),
        };
        let rows = report.counts.iter().zip(&report.priorities);
        let types = types.iter().zip(rows).zip(&kept);
        let record = Current {
            version: VERSION,
            generation,
            etag: hash.to_hex()[..32].to_owned(),
            published_at_ms: 1,
            checked_at_ms: 1,
            interval_ms: 60_000,
            recovered_at_ms: None,
            employees: report.employee_count,
            report: made[0],
            unattributed: made[1],
            rejected: made[2],
            summary: made[3],
            types: types
                .map(|((kind, (counts, priorities)), kept)| TypeSummary {
                    name: kind.name.clone(),
                    counts: *counts,
                    priorities: *priorities,
                    freshness: freshness(kept),
                })
                .collect(),
            identities: IdentitiesSummary {
                entries: 1,
                rejected: 0,
                freshness: freshness(&kept[kept.len() - 1]),
            },
        };
        self.keys = record.keys(keys);
        let payloads = kept.iter().flat_map(|kept| {
            blocks(&kept.packed, |number| {
                keys.payload(&kept.payload.hash, number)
            })
        });
        Snapshot {
            payloads: payloads.collect(),
            record,
            bodies,
            counted: Vec::new(),
        }
    }

    async fn publish(&mut self, snapshot: Snapshot) -> Result<()> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        self.publisher
            .publish(&self.leadership, snapshot, deadline)
            .await
            .map_err(|error| anyhow!("cannot publish: {error}"))
    }

    /// What a refresh does that finds the same answers as before.
    async fn renew(&mut self, answers: &Answers, mut record: Current) -> Result<()> {
        let all: Vec<&Bytes> = answers.bodies().collect();
        let hashes = all
            .into_par_iter()
            .with_max_len(1)
            .map(|body| blake3::hash(body));
        std::hint::black_box(hashes.collect::<Vec<_>>());
        record.checked_at_ms += 1;
        self.publish(Snapshot {
            record,
            bodies: Vec::new(),
            payloads: Vec::new(),
            counted: Vec::new(),
        })
        .await
    }

    /// Leaves nothing behind.
    async fn clear(self) -> Result<()> {
        let written: Vec<Block> = self
            .keys
            .iter()
            .map(|key| Block {
                key: key.clone(),
                value: Bytes::new(),
            })
            .collect();
        self.publisher.unstage(&written).await?;
        self.lease.release().await;
        Ok(())
    }
}
