//! The history of snapshots: every distinct upstream answer once, and a small manifest for each
//! refresh. From it the service recovers when Redis is lost, and the report of any moment is rebuilt.
//!
//! Answers are named by their contents (`objects/ab/<BLAKE3>.zst`), manifests by their time
//! (`manifests/2026-11-25/103000.123Z-<generation>-<token>.json`). A manifest is written after the
//! answers that it names. What is read is checked against its hash, so that a torn write, a missing
//! object or a changed one is noticed, whatever the store promises.

mod manifest;
pub(crate) mod recorder;
pub(crate) mod retention;

use std::env;
use std::error::Error as StdError;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::contract::record::{Freshness, Payload};
use domain::settings::HistoryStore;
use futures::TryStreamExt as _;
use futures::future::join_all;
use grouping::endpoint::PerEndpoint;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt as _, RetryConfig,
};
use thiserror::Error;
use tokio::time::timeout;

pub(crate) use self::manifest::Manifest;
use self::manifest::ManifestError;
use crate::answer::Answer;

/// How long one operation on the store may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A manifest is small: a larger one is none.
const LARGEST_MANIFEST: u64 = 1 << 20;

/// Manifests that are tried, newest first, until one is whole.
const MOST_TRIED: usize = 100;

/// Manifests that are read at the same time.
const READS_AT_ONCE: usize = 16;

const MANIFESTS: &str = "manifests";
const OBJECTS: &str = "objects";

/// Why the history cannot be written or read. Says no address: clients may read it.
#[derive(Debug, Error)]
pub(crate) enum HistoryError {
    /// The settings of the store cannot be used.
    #[error(
        "the history cannot be opened: {0}; check HISTORY_STORE (for S3, the AWS_ variables too)"
    )]
    Open(String),
    /// The store does not let us.
    #[error("the history's store denies access: check its credentials and rights")]
    Denied,
    /// The store fails.
    #[error("the history's store fails: {0}")]
    Store(String),
    /// There is no such bucket.
    #[error("the history's store has no such bucket: make it, or check HISTORY_STORE")]
    NoBucket,
    /// What was signed for another region is not believed.
    #[error("the history's store is of another region: check AWS_REGION")]
    OtherRegion,
    /// The store takes too long.
    #[error("the history's store does not answer within {} s", LIMIT.as_secs())]
    Slow,
    /// Something that a manifest names is not there.
    #[error("{0} is missing in the history")]
    Missing(String),
    /// Something is not what it was when it was written.
    #[error("{0} is damaged in the history: {1}")]
    Damaged(String, String),
    /// Another release has written something.
    #[error("{0} in the history is of another release: {1}")]
    Foreign(String, String),
}

impl From<object_store::Error> for HistoryError {
    fn from(error: object_store::Error) -> Self {
        use object_store::Error;
        tracing::debug!(%error, "the history's store");
        match &error {
            Error::NotFound { .. } => Self::Missing("what was asked for".to_owned()),
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Self::Denied,
            other => {
                let mut cause: Option<&(dyn StdError + 'static)> = Some(other);
                let text = other.to_string();
                let mut said = match s3_code(&text) {
                    Some(
                        "AccessDenied"
                        | "InvalidAccessKeyId"
                        | "NotSignedUp"
                        | "SignatureDoesNotMatch",
                    ) => return Self::Denied,
                    Some("NoSuchBucket") => return Self::NoBucket,
                    Some("AuthorizationHeaderMalformed") => return Self::OtherRegion,
                    Some(code) => format!("it answers with the error {code}"),
                    None => "it answers with an error".to_owned(),
                };
                while let Some(error) = cause {
                    if let Some(error) = error.downcast_ref::<io::Error>() {
                        if error.kind() == io::ErrorKind::PermissionDenied {
                            return Self::Denied;
                        }
                        said = error.to_string();
                    }
                    cause = error.source();
                }
                Self::Store(said)
            }
        }
    }
}

/// The code of an S3 store's error among what is told of it: requests that list say no more by themselves.
fn s3_code(told: &str) -> Option<&str> {
    let (_, rest) = told.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_code = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_code.then_some(code)
}

/// A manifest's place in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its name in the store.
    pub(crate) path: Path,
    /// When the refresh was that it tells of: milliseconds of Redis's clock.
    pub(crate) at_ms: u64,
    /// Its length.
    pub(crate) bytes: u64,
}

/// The history, wherever it is kept.
#[derive(Debug)]
pub(crate) struct History {
    store: Arc<dyn ObjectStore>,
    /// `folder` or `s3`.
    pub(crate) kind: &'static str,
    /// The largest answer that is unpacked, in bytes.
    largest: u64,
}

/// A snapshot as the history has it: whole.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// What it was.
    pub(crate) manifest: Manifest,
    /// Each endpoint's answer, the types' in the manifest's order; none where upstream had never given
    /// one.
    pub(crate) answers: PerEndpoint<Option<Answer>>,
}

impl History {
    /// Opens the history that `place` names; nothing in it is looked at. No answer in it has more than
    /// `largest` bytes.
    ///
    /// # Errors
    /// The folder cannot be made, or the settings of the bucket are not usable.
    pub(crate) fn open(place: &HistoryStore, largest: u64) -> Result<Self, HistoryError> {
        let (store, kind): (Arc<dyn ObjectStore>, _) = match place {
            HistoryStore::Folder(folder) => (Arc::new(open_folder(folder)?), "folder"),
            HistoryStore::S3 { bucket, prefix } => {
                let bucket = open_bucket(bucket)?;
                (Arc::new(PrefixStore::new(bucket, prefix.as_str())), "s3")
            }
        };
        Ok(Self {
            store,
            kind,
            largest,
        })
    }

    /// Keeps an answer, unless it is there.
    ///
    /// # Errors
    /// The store fails.
    pub(crate) async fn put_answer(&self, answer: &Answer) -> Result<(), HistoryError> {
        let path = object(&answer.hash.to_hex());
        match within(self.store.head(&path)).await {
            // A torn one would have another length.
            Ok(found) if found.size == answer.packed.len() as u64 => Ok(()),
            Ok(_) | Err(HistoryError::Missing(_)) => {
                within(self.store.put(&path, answer.packed.clone().into())).await?;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Appends a manifest, whose answers are there.
    ///
    /// # Errors
    /// The store fails.
    pub(crate) async fn append(&self, manifest: &Manifest) -> Result<(), HistoryError> {
        let path = Path::from(manifest.name(MANIFESTS));
        within(self.store.put(&path, manifest.to_bytes().into())).await?;
        Ok(())
    }

    /// The days of which there is something, the oldest first.
    async fn days(&self) -> Result<Vec<Path>, HistoryError> {
        let manifests = Path::from(MANIFESTS);
        let found = within(self.store.list_with_delimiter(Some(&manifests))).await?;
        let mut days = found.common_prefixes;
        days.sort_unstable();
        Ok(days)
    }

    /// What is below `folder`. The store has to go on with it, however long all of it takes.
    async fn listed(&self, folder: &Path) -> Result<Vec<ObjectMeta>, HistoryError> {
        let mut list = self.store.list(Some(folder));
        let mut found = Vec::new();
        while let Some(meta) = within(list.try_next()).await? {
            found.push(meta);
        }
        Ok(found)
    }

    /// The manifests below `folder`, in the order of their times.
    async fn entries(&self, folder: &Path) -> Result<Vec<Entry>, HistoryError> {
        let found = self.listed(folder).await?;
        let entries = found.into_iter().filter_map(|found| {
            let at_ms = manifest::time_in(found.location.as_ref())?;
            Some(Entry {
                at_ms,
                bytes: found.size,
                path: found.location,
            })
        });
        let mut entries: Vec<Entry> = entries.collect();
        entries.sort_unstable_by(|a, b| (a.at_ms, &a.path).cmp(&(b.at_ms, &b.path)));
        Ok(entries)
    }

    /// All manifests, the oldest first.
    ///
    /// # Errors
    /// The store fails.
    pub(crate) async fn all(&self) -> Result<Vec<Entry>, HistoryError> {
        self.entries(&Path::from(MANIFESTS)).await
    }

    /// All answers: their hashes, and what the store says of them.
    ///
    /// # Errors
    /// The store fails.
    pub(crate) async fn objects(&self) -> Result<Vec<(String, ObjectMeta)>, HistoryError> {
        let found = self.listed(&Path::from(OBJECTS)).await?;
        let named = found.into_iter().filter_map(|found| {
            let hash = found.location.filename()?.strip_suffix(".zst")?.to_owned();
            Some((hash, found))
        });
        Ok(named.collect())
    }

    /// Removes what stands at `paths`; what is gone already does not matter.
    ///
    /// # Errors
    /// The store fails.
    pub(crate) async fn remove(&self, paths: &[Path]) -> Result<(), HistoryError> {
        for path in paths {
            match within(self.store.delete(path)).await {
                Ok(()) | Err(HistoryError::Missing(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// It is gone or damaged, or the store fails.
    pub(crate) async fn read(&self, entry: &Entry) -> Result<Manifest, HistoryError> {
        let name = entry.path.as_ref();
        let bytes = self.get(&entry.path, LARGEST_MANIFEST).await?;
        let named = || format!("the manifest {name}");
        Manifest::parse(&bytes).map_err(|error| match error {
            ManifestError::Damaged(why) => HistoryError::Damaged(named(), why),
            ManifestError::Foreign(why) => HistoryError::Foreign(named(), why),
        })
    }

    /// Reads the answer that `payload` names, which arrived at `at_ms`, and checks it.
    ///
    /// # Errors
    /// It is gone or damaged, or the store fails.
    pub(crate) async fn answer(
        &self,
        payload: &Payload,
        at_ms: u64,
    ) -> Result<Answer, HistoryError> {
        // Nothing that was compressed is much larger than what it was made of.
        let largest = self.largest + (1 << 16);
        let packed = self.get(&object(&payload.hash), largest).await?;
        Answer::verified(payload, packed, at_ms, self.largest)
            .await
            .map_err(|error| {
                HistoryError::Damaged(format!("the answer {}", payload.hash), error.to_string())
            })
    }

    async fn get(&self, path: &Path, largest: u64) -> Result<Bytes, HistoryError> {
        let name = path.filename().unwrap_or_default().to_owned();
        let read = async {
            let found = self.store.get(path).await?;
            if found.meta.size > largest {
                return Ok(None);
            }
            found.bytes().await.map(Some)
        };
        match within(read).await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(HistoryError::Damaged(name, "it is too large".to_owned())),
            Err(HistoryError::Missing(_)) => Err(HistoryError::Missing(name)),
            Err(error) => Err(error),
        }
    }

    /// All answers of a manifest.
    ///
    /// # Errors
    /// One is gone or damaged, or the store fails.
    pub(crate) async fn load(&self, manifest: Manifest) -> Result<Recorded, HistoryError> {
        let freshness = manifest.freshness();
        let mut answers = PerEndpoint {
            identities: self.load_one(&freshness.identities).await?,
            incidents: Vec::with_capacity(freshness.incidents.len()),
        };
        for freshness in &freshness.incidents {
            answers.incidents.push(self.load_one(freshness).await?);
        }
        Ok(Recorded { manifest, answers })
    }

    async fn load_one(&self, freshness: &Freshness) -> Result<Option<Answer>, HistoryError> {
        match (&freshness.payload, freshness.good_at_ms) {
            (Some(payload), Some(at_ms)) => Ok(Some(self.answer(payload, at_ms).await?)),
            _ => Ok(None),
        }
    }

    /// The newest manifest of a refresh at or before `at_ms`; damaged or not.
    ///
    /// # Errors
    /// The store fails.
    pub(crate) async fn newest_at(&self, at_ms: u64) -> Result<Option<Entry>, HistoryError> {
        for day in self.days().await?.iter().rev() {
            let entries = self.entries(day).await?;
            if let Some(entry) = entries.into_iter().rev().find(|entry| entry.at_ms <= at_ms) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// The newest snapshot that is whole. What is damaged is told in the log and passed over.
    ///
    /// # Errors
    /// The store fails. `None` where nothing is whole.
    pub(crate) async fn newest_whole(&self) -> Result<Option<Recorded>, HistoryError> {
        let mut tried = 0;
        for day in self.days().await?.iter().rev() {
            for entry in self.entries(day).await?.iter().rev() {
                let loaded = async { self.load(self.read(entry).await?).await };
                match loaded.await {
                    Ok(recorded) => return Ok(Some(recorded)),
                    Err(
                        error @ (HistoryError::Missing(_)
                        | HistoryError::Damaged(..)
                        | HistoryError::Foreign(..)),
                    ) => {
                        tracing::error!(manifest = %entry.path, %error, "passed over");
                    }
                    Err(error) => return Err(error),
                }
                tried += 1;
                if tried >= MOST_TRIED {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// The manifests of `entries`, some at a time; an error in place of one that cannot be had.
    pub(crate) async fn read_all(&self, entries: &[Entry]) -> Vec<Result<Manifest, HistoryError>> {
        let mut read = Vec::with_capacity(entries.len());
        for some in entries.chunks(READS_AT_ONCE) {
            read.extend(join_all(some.iter().map(|entry| self.read(entry))).await);
        }
        read
    }
}

/// The name of the answer with this hash.
fn object(hash: &str) -> Path {
    let folder = hash.get(..2).unwrap_or_default();
    Path::from(format!("{OBJECTS}/{folder}/{hash}.zst"))
}

fn open_folder(folder: &str) -> Result<LocalFileSystem, HistoryError> {
    let failed = |error: &dyn std::fmt::Display| HistoryError::Open(error.to_string());
    // Upstream's answers are nobody else's business.
    let mut private = DirBuilder::new();
    private.recursive(true).mode(0o700);
    private.create(folder).map_err(|error| failed(&error))?;
    let is_open = fs::metadata(folder).is_ok_and(|folder| folder.mode() & 0o007 != 0);
    if is_open {
        tracing::warn!(
            folder,
            "every user of this machine may look into the history's folder: `chmod o= FOLDER` keeps them out"
        );
    }
    let store = LocalFileSystem::new_with_prefix(folder);
    // What has been recorded is to outlast a power failure.
    Ok(store.map_err(|error| failed(&error))?.with_fsync(true))
}

/// A bucket as the environment of every S3 client describes it.
fn open_bucket(bucket: &str) -> Result<object_store::aws::AmazonS3, HistoryError> {
    // An empty variable counts as not set, as everywhere.
    let variables = env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let value = value.into_string().ok().filter(|value| !value.is_empty())?;
        let key: AmazonS3ConfigKey = name
            .starts_with("AWS_")
            .then(|| name.to_ascii_lowercase().parse().ok())??;
        Some((key, value))
    });
    let mut builder = AmazonS3Builder::new().with_bucket_name(bucket);
    for (key, value) in variables {
        builder = builder.with_config(key, value);
    }
    // Whoever writes http:// means it.
    let is_plain = [AmazonS3ConfigKey::Endpoint, AmazonS3ConfigKey::S3Endpoint]
        .iter()
        .filter_map(|key| builder.get_config_value(key))
        .any(|endpoint| endpoint.starts_with("http://"));
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 3,
        retry_timeout: LIMIT,
    };
    let client = ClientOptions::new()
        .with_allow_http(is_plain)
        .with_connect_timeout(LIMIT / 2)
        .with_timeout(LIMIT);
    builder
        .with_client_options(client)
        .with_retry(retry)
        .build()
        .map_err(|error| HistoryError::Open(error.to_string()))
}

async fn within<T>(
    operation: impl Future<Output = object_store::Result<T>>,
) -> Result<T, HistoryError> {
    match timeout(LIMIT, operation).await {
        Ok(result) => result.map_err(HistoryError::from),
        Err(_) => Err(HistoryError::Slow),
    }
}
