//! A job in a plain tokio program: no actix code, events as a stream, each as a line of JSON.
//!
//! `cargo run --release --example plain_tokio`

use std::time::Duration;

use millstream::prelude::*;

const RECORDS: u64 = 100_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sink = CollectSink::new();
    let counts = sink.handle();
    let env =
        StreamEnvironment::new("plain").checkpointing(Checkpointing::every(Duration::from_millis(20))).parallelism(2);
    env.source("numbers", SequenceSource::new(0..RECORDS))
        .key_by(|n| n % 10)
        .fold("count", 0u64, |count, _| *count += 1)
        .sink("counts", sink);

    // From before the start: none is missed.
    let mut events = env.events(1_000);
    let job = env.start()?;
    let printed = tokio::spawn(async move {
        let mut lines = 0;
        while let Some(event) = events.next().await {
            println!("{}", serde_json::to_string(&event)?);
            lines += 1;
        }
        Ok::<_, serde_json::Error>(lines)
    });

    let outcome = job.await?;
    let events = printed.await??;
    check(&counts.snapshot())?;
    println!("OK: {RECORDS} records counted, {:?}, {events} events", outcome.kind);
    Ok(())
}

/// Each key has had each of its counts exactly once.
fn check(counts: &[(u64, u64)]) -> Result<(), String> {
    for key in 0..10 {
        let of_key = counts.iter().filter(|(of, _)| *of == key).map(|(_, count)| *count);
        if !of_key.eq(1..=RECORDS / 10) {
            return Err(format!("key {key} has other counts than 1 to {}", RECORDS / 10));
        }
    }
    Ok(())
}
