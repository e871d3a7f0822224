//! What the engine does, to be seen.

/// Shows what the engine does, on standard error; `RUST_LOG` changes how much.
pub(crate) fn log_to_stderr() {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).format_target(true).init();
}
