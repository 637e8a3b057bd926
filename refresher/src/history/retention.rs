//! Retention: what of the history goes when it grows too old or too large.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use object_store::path::Path;

use super::{Entry, History, HistoryError};

/// An answer that no manifest names yet may be about to be named.
const BRAND_NEW: Duration = Duration::from_secs(3600);

/// How long, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// How much older than the newest a snapshot may be.
    pub(crate) max_age: Duration,
    /// How much all may take, in bytes.
    pub(crate) max_bytes: u64,
}

/// An answer, as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    bytes: u64,
    /// Whether it was written just now, by the store's own clock.
    is_new: bool,
}

/// A manifest, as the plan sees it: how old, how large, and which answers it names (none where it is
/// damaged).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    at_ms: u64,
    bytes: u64,
    objects: Option<HashSet<String>>,
}

/// What goes: manifests by their position, and answers by their hash.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    manifests: Vec<usize>,
    objects: Vec<String>,
}

/// Removes what is beyond `bounds`: manifests first, then the answers that none of the others names.
/// The newest snapshot that is whole stays, whatever its age and size. How many manifests and answers
/// went.
///
/// # Errors
/// The store fails.
pub(crate) async fn apply(
    history: &History,
    bounds: Bounds,
) -> Result<(usize, usize), HistoryError> {
    let entries = history.all().await?;
    let found = history.objects().await?;
    let newest = found.iter().map(|(_, meta)| meta.last_modified).max();
    let is_new = |modified| {
        newest.is_some_and(|newest| {
            let age = newest.signed_duration_since(modified).to_std();
            age.is_ok_and(|age| age < BRAND_NEW)
        })
    };
    let paths: HashMap<&str, &Path> = found
        .iter()
        .map(|(hash, meta)| (hash.as_str(), &meta.location))
        .collect();
    let objects: HashMap<String, Object> = found
        .iter()
        .map(|(hash, meta)| {
            let object = Object {
                bytes: meta.size,
                is_new: is_new(meta.last_modified),
            };
            (hash.clone(), object)
        })
        .collect();
    let read = history.read_all(&entries).await;
    let mut manifests = Vec::with_capacity(entries.len());
    // What another release has written may name any object.
    let mut may_name_all = false;
    for (entry, manifest) in entries.iter().zip(read) {
        let objects = match manifest {
            Ok(manifest) => {
                let answers = manifest.answers().into_iter();
                Some(answers.map(|payload| payload.hash).collect())
            }
            Err(HistoryError::Missing(_) | HistoryError::Damaged(..)) => None,
            Err(HistoryError::Foreign(..)) => {
                may_name_all = true;
                None
            }
            // What it names is only not known now.
            Err(error) => return Err(error),
        };
        manifests.push(Named {
            at_ms: entry.at_ms,
            bytes: entry.bytes,
            objects,
        });
    }
    let mut plan = plan(&manifests, &objects, bounds);
    if may_name_all {
        plan.objects.clear();
    }
    let gone = |entry: &usize| entries.get(*entry).map(|entry: &Entry| entry.path.clone());
    let gone: Vec<Path> = plan.manifests.iter().filter_map(gone).collect();
    history.remove(&gone).await?;
    let unnamed = plan.objects.iter();
    let unnamed: Vec<Path> = unnamed
        .filter_map(|hash| paths.get(hash.as_str()).map(|path| (*path).clone()))
        .collect();
    history.remove(&unnamed).await?;
    Ok((gone.len(), unnamed.len()))
}

/// Decides what goes of `manifests`, which ascend by time.
fn plan(manifests: &[Named], objects: &HashMap<String, Object>, bounds: Bounds) -> Plan {
    let is_whole = |named: &Named| {
        let names = named.objects.as_ref();
        names.is_some_and(|names| names.iter().all(|name| objects.contains_key(name)))
    };
    let newest_whole = manifests.iter().rposition(is_whole);
    let newest_ms = manifests.last().map_or(0, |named| named.at_ms);
    let max_age_ms = u64::try_from(bounds.max_age.as_millis()).unwrap_or(u64::MAX);
    let bytes_of = |name: &String| objects.get(name).map_or(0, |object| object.bytes);

    let mut named_by: HashMap<&String, usize> = HashMap::new();
    let mut bytes = 0;
    for named in manifests {
        bytes += named.bytes;
        for name in named.objects.iter().flatten() {
            let times = named_by.entry(name).or_default();
            *times += 1;
            if *times == 1 {
                bytes += bytes_of(name);
            }
        }
    }
    let mut plan = Plan::default();
    for (index, named) in manifests.iter().enumerate() {
        let too_old = newest_ms - named.at_ms > max_age_ms;
        if Some(index) == newest_whole || !(too_old || bytes > bounds.max_bytes) {
            continue;
        }
        plan.manifests.push(index);
        bytes -= named.bytes;
        for name in named.objects.iter().flatten() {
            if let Some(times) = named_by.get_mut(name) {
                *times -= 1;
                if *times == 0 {
                    bytes -= bytes_of(name);
                }
            }
        }
    }
    let is_unnamed = |name: &&String| named_by.get(name).is_none_or(|times| *times == 0);
    let unnamed = objects.iter().filter(|(_, object)| !object.is_new);
    plan.objects = unnamed
        .map(|(name, _)| name)
        .filter(is_unnamed)
        .cloned()
        .collect();
    plan.objects.sort_unstable();
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::settings::HistoryStore;
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;
    use std::fs::{self, File};
    use std::time::SystemTime;

    fn bounds() -> impl Strategy<Value = Bounds> {
        (0_u64..60, 0_u64..400).prop_map(|(age, max_bytes)| Bounds {
            max_age: Duration::from_millis(age),
            max_bytes,
        })
    }

    fn manifests() -> impl Strategy<Value = Vec<Named>> {
        let names = btree_set(0_u8..12, 0..4);
        let one = (
            0_u64..100,
            1_u64..20,
            proptest::option::weighted(0.9, names),
        );
        vec(one, 0..20).prop_map(|mut all| {
            all.sort_unstable_by_key(|(at_ms, ..)| *at_ms);
            let named = all.into_iter().map(|(at_ms, bytes, names)| Named {
                at_ms,
                bytes,
                objects: names.map(|names| names.iter().map(u8::to_string).collect()),
            });
            named.collect()
        })
    }

    fn objects() -> impl Strategy<Value = HashMap<String, Object>> {
        vec(
            proptest::option::weighted(0.9, (1_u64..50, any::<bool>())),
            12,
        )
        .prop_map(|all| {
            let there = all.into_iter().enumerate();
            there
                .filter_map(|(name, object)| {
                    let (bytes, is_new) = object?;
                    Some((name.to_string(), Object { bytes, is_new }))
                })
                .collect()
        })
    }

    fn whole(named: &Named, objects: &HashMap<String, Object>) -> bool {
        let names = named.objects.as_ref();
        names.is_some_and(|names| names.iter().all(|name| objects.contains_key(name)))
    }

    #[tokio::test]
    async fn what_a_manifest_of_another_release_may_name_stays() {
        let folder = tempfile::tempdir().unwrap();
        let place = HistoryStore::Folder(folder.path().to_str().unwrap().to_owned());
        let history = History::open(&place, 1000).unwrap();
        let write = |name: &str, contents: &str, age: Duration| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, contents).unwrap();
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        };
        write("objects/aa/aa.zst", "an answer", 2 * BRAND_NEW);
        write("objects/bb/bb.zst", "a new one", Duration::ZERO);
        let bounds = Bounds {
            max_age: Duration::MAX,
            max_bytes: u64::MAX,
        };
        let contents = r#"{"version":99}"#;
        let checksum = blake3::hash(contents.as_bytes()).to_hex();
        let foreign = format!(r#"{{"checksum":"{checksum}","contents":{contents}}}"#);
        for (manifest, removed) in [(foreign.as_str(), 0), ("damaged", 1)] {
            let name = "manifests/2025-11-25/103000.123Z-7-3.json";
            write(name, manifest, Duration::ZERO);
            let found = apply(&history, bounds).await;
            assert_eq!(found.unwrap(), (0, removed), "{manifest}");
        }
    }

    proptest! {
        #[test]
        fn what_stays_is_whole_within_bounds_and_never_nothing(
            manifests in manifests(), objects in objects(), bounds in bounds()
        ) {
            let plan = plan(&manifests, &objects, bounds);
            let gone: HashSet<usize> = plan.manifests.iter().copied().collect();
            let stays: Vec<&Named> = manifests.iter().enumerate()
                .filter(|(index, _)| !gone.contains(index)).map(|(_, named)| named).collect();
            let named: HashSet<&String> = stays.iter().flat_map(|n| n.objects.iter().flatten()).collect();
            // Nothing goes that is named by what stays, and nothing stays for nothing.
            for (name, object) in &objects {
                let goes = plan.objects.contains(name);
                prop_assert_eq!(goes, !named.contains(name) && !object.is_new, "{}", name);
            }
            // The newest whole one stays.
            let newest = manifests.iter().rposition(|named| whole(named, &objects));
            prop_assert!(newest.is_none_or(|newest| !gone.contains(&newest)));
            // Nothing else is too old, and together they are not too large.
            let last = manifests.last().map_or(0, |named| named.at_ms);
            let size: u64 = stays.iter().map(|named| named.bytes).sum::<u64>()
                + named.iter().map(|name| objects.get(*name).map_or(0, |o| o.bytes)).sum::<u64>();
            for (index, named) in manifests.iter().enumerate() {
                if !gone.contains(&index) && Some(index) != newest {
                    prop_assert!(u128::from(last - named.at_ms) <= bounds.max_age.as_millis());
                    prop_assert!(size <= bounds.max_bytes);
                }
            }
            // No more goes than has to: one manifest and its answers make no more than 170 bytes.
            if size < bounds.max_bytes.saturating_sub(171) {
                for index in &gone {
                    prop_assert!(u128::from(last - manifests[*index].at_ms) > bounds.max_age.as_millis());
                }
            }
        }
    }
}
