//! `refresher`: see `refresher --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    refresher::main()
}
