//! Looks into the stores of Millstream jobs. See `millstream --help` and `docs/cli.md`.

use std::process::ExitCode;

fn main() -> ExitCode {
    millstream::cli::main()
}
