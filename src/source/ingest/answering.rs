//! What a log's writer does with answers, and for those who wait for them.

use std::sync::Arc;

use super::askers::{Asker, Given, GivenCall, Told};
use super::keys::Place;
use super::writer::Writer;
use super::{IngestError, IngestLogError};

/// Somebody who waits for the answer to a record that gets its place.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) place: Place,
    pub(super) is_repeated: bool,
    pub(super) asker: Asker,
}

/// Answers that are made durable together.
#[derive(Debug, Default)]
pub(super) struct Answers {
    calls: Vec<GivenCall>,
    /// Those that are stored, in the order of the change.
    stored: Vec<Given>,
    /// Those that nobody can ask for again.
    passing: Vec<Given>,
}

impl Writer {
    /// Which of these are to be stored.
    pub(super) fn stage_answers(&self, mut calls: Vec<GivenCall>) -> Answers {
        let mut answers = Answers::default();
        for given in calls.iter_mut().flat_map(|call| std::mem::take(&mut call.given)) {
            match self.keys.life(given.place) {
                Some(life) if life == given.life => answers.stored.push(given),
                // The record that is answered was lost, and another has taken its place.
                Some(_) => self.foreign(given.place),
                None => answers.passing.push(given),
            }
        }
        answers.calls = calls;
        answers
    }

    /// Before anybody can read the records: so that no answer comes before who waits for it is known.
    pub(super) fn register(&self, placed: Vec<Placed>) {
        for Placed { place, is_repeated, asker } in placed {
            let known = if is_repeated { self.log.file.answer(place) } else { Ok(None) };
            match known {
                Ok(Some(body)) => drop(asker.send(Told::Answer(body))),
                Ok(None) => {
                    // Of a record without a key the life is exact: it was added by now.
                    let life = self.keys.life(place).unwrap_or_else(|| self.log.lineage.present());
                    self.log.askers.register((life, place), asker, is_repeated);
                }
                Err(error) => {
                    if error.is_retryable() {
                        self.log.queue.suspect();
                    }
                    drop(asker.send(Told::Unreadable(Arc::new(error))));
                }
            }
        }
    }

    /// Tells of answers that are durable, of which these stand, or have failed.
    pub(super) fn told_answers(&self, answers: Answers, written: Result<&[Arc<[u8]>], &Arc<IngestLogError>>) {
        if let Ok(standing) = written {
            for (given, standing) in answers.stored.iter().zip(standing) {
                if given.body != *standing {
                    self.surplus(given.place);
                }
                self.log.askers.answer(given, standing);
            }
            answers.passing.iter().for_each(|given| self.log.askers.answer(given, &given.body));
        }
        for call in answers.calls {
            // Whoever gave them may be gone.
            let _ = call.reply.send(written.map(|_| ()).map_err(|error| IngestError::Log(error.clone())));
        }
    }

    fn foreign(&self, place: Place) {
        let why =
            "what is there is another request. Requests were lost with a part of the log, and the job had read them";
        self.left_out(place, self.log.askers.count_foreign(), why);
    }

    fn surplus(&self, place: Place) {
        let why = "the one that was given stands. The job answers it twice, or went back to an older checkpoint";
        self.left_out(place, self.log.askers.count_surplus(), why);
    }

    /// Tells of it at the powers of two: a job that gives two answers to each request must not fill the log of the program.
    fn left_out(&self, Place { split, offset }: Place, count: u64, why: &str) {
        if count.is_power_of_two() {
            log::warn!(
                target: "millstream::ingest",
                "ingest log {}: an answer to split {split}, offset {offset} is left out ({count} so far): {why}",
                self.log.name
            );
        }
    }
}

impl Answers {
    /// Answers as a change takes them.
    pub(super) fn stored(&self) -> Vec<(Place, Arc<[u8]>)> {
        self.stored.iter().map(|given| (given.place, given.body.clone())).collect()
    }
}
