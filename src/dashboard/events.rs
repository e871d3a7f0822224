//! The events of a job as they come, for a browser (server-sent events, WHATWG HTML section 9.2).
//!
//! The job's side is a queue of bounded length: whoever reads slowly misses the oldest events and is told how many. Nothing waits for it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::http::Method;
use actix_web::web::{Bytes, Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::Stream;
use futures_util::stream::unfold;
use millstream_actors::contract::Clock;
use millstream_actors::{JobEvent, JobEvents};
use serde::{Deserialize, Serialize};

use super::api::{LogEvent, Refusal};
use super::reading::{job_of, parameter};
use super::redaction::Redaction;
use super::shared::{Place, Shared};
use crate::time::SystemClock;

/// Events that wait for one browser.
const QUEUE_LEN: usize = 256;
/// After so long without an event the browser, and what is between, are told that the stream is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// When a browser that lost the stream asks for it again.
const RETRY: &str = "retry: 2000\n\n";

#[derive(Deserialize)]
struct From {
    /// The number of the last event that is known.
    after: Option<String>,
}

/// Told where events were missed.
#[derive(Serialize)]
struct Dropped {
    dropped: u64,
}

pub(super) async fn events(shared: Data<Shared>, request: HttpRequest) -> HttpResponse {
    match open(&shared, &request) {
        Ok(reader) => {
            let mut response = HttpResponse::Ok();
            // Proxies that gather answers are asked not to.
            response.content_type("text/event-stream").insert_header(("X-Accel-Buffering", "no"));
            if request.method() == Method::HEAD {
                return response.finish();
            }
            response.streaming(reader.frames())
        }
        Err(refusal) => refusal.respond(),
    }
}

fn open(shared: &Shared, request: &HttpRequest) -> Result<Reader, Refusal> {
    let [id] = parameter(request)?;
    let job = job_of(shared, &id)?;
    let after = last_known(request)?;
    let place = shared.streams.take().ok_or_else(|| {
        let message = "too many streams of events are open";
        Refusal::unavailable("too_many_streams", message, Duration::from_secs(5))
    })?;
    // In this order nothing comes between the two; what is in both is known by its number.
    let events = job.handle.events(QUEUE_LEN);
    let history = job.handle.history();
    let newest = history.last().map_or(0, |event| event.seq);
    // What is beyond the newest is of another life of the process: all is new.
    let last = after.map_or(newest, |after| if after > newest { 0 } else { after });
    Ok(Reader {
        last,
        known: history.into_iter().filter(|event| event.seq > last).collect(),
        events: Some(events),
        unlisted: Box::pin(job.unlisted()),
        redaction: Redaction { shows_records: shared.settings.shows_records },
        _place: place,
    })
}

/// The event that the browser had last, if it says so.
fn last_known(request: &HttpRequest) -> Result<Option<u64>, Refusal> {
    let header = request.headers().get("Last-Event-ID").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let query = Query::<From>::from_query(request.query_string());
    let query = query.map_err(|error| Refusal::bad_request("bad_query", error))?.into_inner().after;
    let said = header.filter(|id| !id.is_empty()).or(query);
    let number = said.map(|said| said.parse().map_err(|_| Refusal::bad_request("bad_event", "no number of an event")));
    number.transpose()
}

/// What one browser reads.
struct Reader {
    /// The number of the last event that it was given.
    last: u64,
    /// Those of the history that it has not.
    known: VecDeque<JobEvent>,
    /// Those that come; `None` after the last.
    events: Option<JobEvents>,
    unlisted: Pin<Box<dyn Future<Output = ()>>>,
    redaction: Redaction,
    _place: Place,
}

enum Next {
    Event(Box<JobEvent>),
    Nothing,
    Unlisted,
}

impl Reader {
    fn frames(self) -> impl Stream<Item = Result<Bytes, actix_web::Error>> + 'static {
        unfold((self, true), |(mut reader, is_first)| async move {
            if is_first {
                return Some((Ok(Bytes::from(RETRY)), (reader, false)));
            }
            // As long as its socket takes them a connection asks for one frame after the other in one go: without this nobody else is
            // served on the thread until all events are told, or no more fit.
            tokio::task::yield_now().await;
            reader.frame().await.map(|frame| (Ok(Bytes::from(frame)), (reader, false)))
        })
    }

    /// What is sent next; `None` once the job is not listed any more. After its end there are heartbeats.
    async fn frame(&mut self) -> Option<String> {
        loop {
            match self.next().await {
                // It was in the history.
                Next::Event(event) if event.seq <= self.last => {}
                Next::Event(event) => return Some(self.told(&event)),
                Next::Nothing => return Some(": still here\n\n".to_owned()),
                Next::Unlisted => return None,
            }
        }
    }

    async fn next(&mut self) -> Next {
        if let Some(event) = self.known.pop_front() {
            return Next::Event(Box::new(event));
        }
        let mut heartbeat = SystemClock::new().sleep(HEARTBEAT);
        poll_fn(|cx| {
            if self.unlisted.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Next::Unlisted);
            }
            if let Some(event) = self.poll_event(cx) {
                return Poll::Ready(Next::Event(Box::new(event)));
            }
            heartbeat.as_mut().poll(cx).map(|()| Next::Nothing)
        })
        .await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Option<JobEvent> {
        match Pin::new(self.events.as_mut()?).poll_next(cx) {
            Poll::Ready(Some(event)) => Some(event),
            Poll::Ready(None) => {
                self.events = None;
                None
            }
            Poll::Pending => None,
        }
    }

    /// An event, after word of those that were missed before it.
    fn told(&mut self, event: &JobEvent) -> String {
        let missed = event.seq - self.last - 1;
        self.last = event.seq;
        let dropped = if missed > 0 { message("dropped", None, &Dropped { dropped: missed }) } else { String::new() };
        dropped + &message("supervision", Some(event.seq), &LogEvent::of(event, self.redaction))
    }
}

fn message(kind: &str, id: Option<u64>, data: &impl Serialize) -> String {
    // One line: JSON has no others in it. All that is sent has a form in JSON.
    let data = serde_json::to_string(data).unwrap_or_default();
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    format!("{id}event: {kind}\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;
    use crate::StreamEnvironment;
    use crate::dashboard::Dashboard;
    use crate::dashboard::shared::Places;
    use crate::source::SequenceSource;

    /// The numbers of events, and of those that were dropped before them.
    fn told(frame: &str) -> (u64, u64) {
        let number = |before: &str| {
            let rest = frame.split(before).nth(1)?;
            rest.split(|end: char| !end.is_ascii_digit()).next()?.parse().ok()
        };
        (number("id: ").unwrap_or_default(), number("{\"dropped\":").unwrap_or_default())
    }

    #[test]
    fn slow_reader_is_told_how_many_it_has_missed_and_gets_the_newest() {
        let env = StreamEnvironment::new("ticks");
        env.source("ticks", SequenceSource::unbounded().rate_per_second(1_000)).for_each("out", |_| {});
        let job = env.start().expect("it starts");
        let jobs = Dashboard::new().job(&job).jobs();
        let reader = Reader {
            last: 0,
            known: VecDeque::new(),
            events: Some(job.events(QUEUE_LEN)),
            unlisted: Box::pin(jobs.get("ticks").expect("it is listed").unlisted()),
            redaction: Redaction { shows_records: false },
            _place: Places::new(1).take().expect("it is free"),
        };
        actix_rt::System::new().block_on(async {
            // Each is an event, and nobody reads.
            for _ in 0..QUEUE_LEN {
                job.pause().await.expect("it goes on");
                job.resume().await.expect("it goes on");
            }
            job.cancel().await.expect("it is cancelled");
            let frames = reader.frames().skip(1).take(QUEUE_LEN);
            let frames = frames.map(|frame| String::from_utf8(frame.expect("bytes").to_vec()).expect("text"));
            let told: Vec<(u64, u64)> = frames.map(|frame| told(&frame)).collect().await;
            let newest = job.history().last().expect("it has ended").seq;
            let ids: Vec<u64> = told.iter().map(|(id, _)| *id).collect();
            assert_eq!(ids, Vec::from_iter(newest - QUEUE_LEN as u64 + 1..=newest));
            assert_eq!(told[0].1, newest - QUEUE_LEN as u64);
            assert!(told[1..].iter().all(|(_, dropped)| *dropped == 0));
        });
    }
}
