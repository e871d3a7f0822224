//! Decompresses gzip files: one member or several, with zero bytes as padding behind them, as gzip(1) accepts.

use std::io::{self, BufRead, ErrorKind, Read};

use flate2::bufread::GzDecoder;

/// What every member begins with.
const MAGIC: [u8; 2] = [0x1F, 0x8B];

/// Why bytes are no gzip file: the error inside of the [`io::Error`]s of kind `InvalidData` that [`GzipReader`] gives.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct GzipFlaw(String);

fn flaw(reason: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, GzipFlaw(reason.into()))
}

/// Reads the decompressed bytes of all members.
pub(super) struct GzipReader<R>(State<R>);

enum State<R> {
    /// Before a member, the first one or a further one.
    Between {
        input: R,
        is_first: bool,
    },
    Within(Box<GzDecoder<R>>),
    /// At the end, or after an error.
    Over,
}

impl<R: BufRead> GzipReader<R> {
    pub(super) fn new(input: R) -> Self {
        Self(State::Between { input, is_first: true })
    }

    /// Passes over padding. Whether a member follows.
    fn member_follows(input: &mut R, is_first: bool) -> io::Result<bool> {
        loop {
            let available = input.fill_buf()?;
            if available.is_empty() {
                return if is_first { Err(flaw("it is empty, which no gzip file is")) } else { Ok(false) };
            }
            let zeros = if is_first { 0 } else { available.iter().take_while(|byte| **byte == 0).count() };
            if zeros == 0 {
                // The second byte may not be at hand; the decoder looks at it.
                return match available {
                    [first, second, ..] if [*first, *second] == MAGIC => Ok(true),
                    [first] if *first == MAGIC[0] => Ok(true),
                    _ if is_first => Err(flaw("it does not begin as a gzip file; it may not be compressed")),
                    _ => Err(flaw("what follows its last member is neither another one nor padding of zero bytes")),
                };
            }
            input.consume(zeros);
        }
    }
}

impl<R: BufRead> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(&mut self.0, State::Over) {
                State::Over => return Ok(0),
                State::Between { mut input, is_first } => match Self::member_follows(&mut input, is_first) {
                    Ok(true) => self.0 = State::Within(Box::new(GzDecoder::new(input))),
                    Ok(false) => return Ok(0),
                    Err(error) => {
                        if error.kind() == ErrorKind::Interrupted {
                            self.0 = State::Between { input, is_first };
                        }
                        return Err(error);
                    }
                },
                State::Within(mut member) => match member.read(buffer) {
                    Ok(0) => self.0 = State::Between { input: member.into_inner(), is_first: false },
                    Ok(len) => {
                        self.0 = State::Within(member);
                        return Ok(len);
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {
                        self.0 = State::Within(member);
                        return Err(error);
                    }
                    // An error of the system is one of reading the file, not of what is in it.
                    Err(error) if error.raw_os_error().is_some() => return Err(error),
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                        return Err(flaw("it is cut: it ends within its compressed data"));
                    }
                    Err(error) => return Err(flaw(error.to_string())),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use super::*;

    fn member(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    /// What is read, with the file's bytes at hand one by one and all at once.
    fn read(file: &[u8]) -> Result<String, String> {
        let outcomes = [1, 4096].map(|at_hand| {
            let mut text = String::new();
            let mut reader = GzipReader::new(BufReader::with_capacity(at_hand, file));
            match reader.read_to_string(&mut text) {
                Ok(_) => Ok(text),
                Err(error) => {
                    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<GzipFlaw>());
                    assert!(error.kind() == ErrorKind::InvalidData && inner.is_some(), "{error:?}");
                    Err(error.to_string())
                }
            }
        });
        assert_eq!(outcomes[0], outcomes[1]);
        outcomes[0].clone()
    }

    #[test]
    fn members_are_read_on_end_and_padding_is_passed_over() {
        let (a, b, zeros) = (member("a\n"), member("b\n"), vec![0; 5000]);
        assert_eq!(read(&a).unwrap(), "a\n");
        assert_eq!(read(&[&a[..], &b, &member("")].concat()).unwrap(), "a\nb\n");
        for padding in [&zeros[..1], &zeros] {
            assert_eq!(read(&[&a[..], padding].concat()).unwrap(), "a\n");
            assert_eq!(read(&[&a[..], padding, &b].concat()).unwrap(), "a\nb\n");
        }
    }

    #[test]
    fn what_is_no_gzip_file_is_cut_or_has_garbage_behind_it_is_told() {
        let whole = member("some text that is long enough\n");
        for text in [&b"plain\n"[..], &[0; 20]] {
            assert!(read(text).unwrap_err().contains("does not begin as a gzip file"));
        }
        assert!(read(b"").unwrap_err().contains("empty"));
        for len in 2..whole.len() {
            assert!(read(&whole[..len]).unwrap_err().contains("cut"), "{len} bytes");
        }
        for rest in [&b"junk"[..], b"\0\0junk"] {
            let error = read(&[&whole[..], rest].concat()).unwrap_err();
            assert!(error.contains("what follows its last member"), "{error}");
        }
        let mut damaged = whole;
        let checksum = damaged.len() - 6;
        damaged[checksum] ^= 1;
        assert!(read(&damaged).is_err());
    }
}
