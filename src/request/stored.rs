//! How requests and answers are stored.
//!
//! A request is a byte, which says whether it has an idempotency key, and its body as MessagePack with named fields. An answer is
//! its kind and what there is of that. In a pending commit answers follow one another, each behind its request and its length.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Answer, AskError, RequestId};
use crate::source::ingest::{Given, Place};
use crate::state::codec::{put_packed, take_packed};

const UNKEYED: u8 = 1;
const KEYED: u8 = 2;

const ANSWER: u8 = 1;
const REJECTED: u8 = 2;
const SEVERAL: u8 = 3;
const UNENCODABLE: u8 = 4;
const TOO_LARGE: u8 = 5;

const PENDING: u8 = 1;
/// Life, split, offset, whether it has a key, length.
const HEADER: usize = 8 + 4 + 8 + 1 + 4;

/// A request as it is stored.
///
/// # Errors
/// Why it cannot be.
pub(super) fn request<Q>(body: &Q, is_keyed: bool) -> Result<Vec<u8>, String>
where
    Q: Serialize + DeserializeOwned + 'static,
{
    let mut bytes = vec![if is_keyed { KEYED } else { UNKEYED }];
    put_packed(body, &mut bytes)?;
    Ok(bytes)
}

/// Takes a request: whether it has a key, and its body.
///
/// # Errors
/// What does not fit.
pub(super) fn take_request<Q: DeserializeOwned>(bytes: &mut &[u8]) -> Result<(bool, Q), String> {
    let (kind, body) = bytes.split_first().ok_or("it is empty")?;
    let is_keyed = match *kind {
        UNKEYED => false,
        KEYED => true,
        other => return Err(format!("kind {other} of requests is not known")),
    };
    *bytes = body;
    Ok((is_keyed, take_packed(bytes)?))
}

/// An answer as it is stored. One that cannot be stored is stored as that.
pub(super) fn answer<A>(answer: &Answer<A>, bytes_max: usize) -> Arc<[u8]>
where
    A: Serialize + DeserializeOwned + 'static,
{
    let text = |kind, text: &str| [&[kind], text.as_bytes()].concat();
    let bytes = match &answer.outcome {
        Ok(value) => {
            let mut bytes = vec![ANSWER];
            match put_packed(value, &mut bytes) {
                Ok(()) => bytes,
                Err(reason) => text(UNENCODABLE, &reason),
            }
        }
        Err(reason) => text(REJECTED, reason),
    };
    if bytes.len() <= bytes_max { bytes.into() } else { number(TOO_LARGE, bytes.len() as u64) }
}

/// That there are so many answers.
pub(super) fn several(answers: u64) -> Arc<[u8]> {
    number(SEVERAL, answers)
}

fn number(kind: u8, number: u64) -> Arc<[u8]> {
    [&[kind][..], &number.to_le_bytes()].concat().into()
}

/// What who asked is told.
///
/// # Errors
/// [`AskError`].
pub(super) fn outcome<A: DeserializeOwned>(stored: &[u8]) -> Result<A, AskError> {
    let undecodable = |reason: String| AskError::Undecodable { reason };
    let (kind, mut rest) = stored.split_first().ok_or_else(|| undecodable("it is empty".to_owned()))?;
    let text = String::from_utf8_lossy(rest).into_owned();
    let number = || -> Result<u64, AskError> {
        let bytes = rest.try_into().map_err(|_| undecodable(format!("{} bytes are no number", rest.len())))?;
        Ok(u64::from_le_bytes(bytes))
    };
    Err(match *kind {
        ANSWER => {
            let answer = take_packed(&mut rest).map_err(undecodable)?;
            if rest.is_empty() {
                return Ok(answer);
            }
            undecodable(format!("{} bytes follow it", rest.len()))
        }
        REJECTED => AskError::Rejected { reason: text },
        SEVERAL => AskError::Several { answers: number()? },
        UNENCODABLE => AskError::Unencodable { reason: text },
        TOO_LARGE => AskError::AnswerTooLarge { bytes: number()? },
        other => undecodable(format!("kind {other} of answers is not known")),
    })
}

/// Answers as they are in a pending commit.
pub(super) fn pending(answers: &[Given]) -> Vec<u8> {
    let bodies: usize = answers.iter().map(|given| HEADER + given.body.len()).sum();
    let mut bytes = Vec::with_capacity(1 + bodies);
    bytes.push(PENDING);
    for Given { life, place: Place { split, offset }, is_keyed, body } in answers {
        bytes.extend_from_slice(&life.to_le_bytes());
        bytes.extend_from_slice(&split.to_le_bytes());
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.push(u8::from(*is_keyed));
        let len = u32::try_from(body.len()).expect("larger answers are not stored");
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(body);
    }
    bytes
}

/// What is in a pending commit.
///
/// # Errors
/// What does not fit.
pub(super) fn of_pending(stored: &[u8]) -> Result<Vec<Given>, String> {
    let mut rest = stored.strip_prefix(&[PENDING]).ok_or("its version is not known")?;
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let (given, after) = split_given(rest).ok_or("an answer is cut")?;
        answers.push(given);
        rest = after;
    }
    Ok(answers)
}

fn split_given(bytes: &[u8]) -> Option<(Given, &[u8])> {
    let (life, bytes) = bytes.split_first_chunk()?;
    let (split, bytes) = bytes.split_first_chunk()?;
    let (offset, bytes) = bytes.split_first_chunk()?;
    let (is_keyed, bytes) = bytes.split_first()?;
    let (len, bytes) = bytes.split_first_chunk()?;
    let (body, rest) = bytes.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    let place = Place { split: u32::from_le_bytes(*split), offset: u64::from_le_bytes(*offset) };
    Some((Given { life: u64::from_le_bytes(*life), place, is_keyed: *is_keyed != 0, body: body.into() }, rest))
}

/// An answer on its way to the log.
pub(super) fn given(id: RequestId, is_keyed: bool, body: Arc<[u8]>) -> Given {
    Given { life: id.life(), place: id.place(), is_keyed, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(offset: u64) -> RequestId {
        RequestId::new(7, Place { split: 3, offset })
    }

    fn stored(outcome: Result<String, String>, bytes_max: usize) -> Arc<[u8]> {
        answer(&Answer { id: id(1), is_keyed: true, outcome }, bytes_max)
    }

    #[test]
    fn every_outcome_comes_back_as_it_was() {
        assert_eq!(outcome::<String>(&stored(Ok("yes".to_owned()), 100)).unwrap(), "yes");
        let error = |stored: &[u8]| outcome::<String>(stored).unwrap_err();
        assert!(matches!(error(&stored(Err("no".to_owned()), 100)), AskError::Rejected { reason } if reason == "no"));
        assert!(matches!(error(&stored(Ok("x".repeat(99)), 99)), AskError::AnswerTooLarge { bytes: 102 }));
        assert!(matches!(error(&several(3)), AskError::Several { answers: 3 }));
        for damaged in [&[][..], &[9], &[SEVERAL, 1], &[ANSWER], &[ANSWER, 1], &[ANSWER, 0xA1, b'x', 0]] {
            assert!(matches!(error(damaged), AskError::Undecodable { .. }), "{damaged:?}");
        }
    }

    #[test]
    fn answers_of_a_pending_commit_come_back_and_every_cut_is_noticed() {
        let answers = [
            given(id(1), true, stored(Ok("yes".to_owned()), 100)),
            given(id(2), false, stored(Err(String::new()), 100)),
        ];
        let stored = pending(&answers);
        assert_eq!(of_pending(&stored).unwrap(), answers);
        let first = pending(&answers[..1]).len();
        for len in (0..stored.len()).filter(|len| ![1, first].contains(len)) {
            assert!(of_pending(&stored[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn request_comes_back_with_whether_it_has_a_key() {
        for is_keyed in [false, true] {
            let stored = request(&(1_u8, "a".to_owned()), is_keyed).unwrap();
            let mut bytes = stored.as_slice();
            assert_eq!(take_request::<(u8, String)>(&mut bytes), Ok((is_keyed, (1, "a".to_owned()))));
            assert!(bytes.is_empty());
        }
        assert!(take_request::<u8>(&mut [9_u8, 1].as_slice()).is_err());
    }
}
