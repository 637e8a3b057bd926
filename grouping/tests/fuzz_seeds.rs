//! The fuzzer's checks over its seeds: so that they keep compiling and passing where nobody fuzzes.

use std::fs;
use std::path::Path;

// There it is a library's.
#[allow(unreachable_pub)]
#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

fn check_seeds(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let seeds = fs::read_dir(folder.join(target)).expect("a folder of seeds");
    let mut checked = 0;
    for seed in seeds {
        check(&fs::read(seed.expect("a seed").path()).expect("a file"));
        checked += 1;
    }
    assert!(checked > 0, "{target} has no seeds");
}

#[test]
fn every_check_passes_over_its_seeds() {
    check_seeds("incidents", fuzz::incidents::check);
    check_seeds("identities", fuzz::identities::check);
    check_seeds("limits", fuzz::limits::check);
    check_seeds("settings", fuzz::settings::check);
    check_seeds("authorization", fuzz::authorization::check);
    check_seeds("forwarded", fuzz::forwarded::check);
}
