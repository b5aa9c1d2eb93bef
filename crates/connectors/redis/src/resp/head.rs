//! What a reply begins with.

/// The longest line that a server may send: errors may quote a command.
const LONGEST_LINE: usize = 16 << 10;

/// The first line of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head<'a> {
    /// So many replies follow.
    Array(usize),
    /// So many bytes follow, and the end of a line.
    Bulk(usize),
    /// The server refuses; the text begins with a code in capitals.
    Error(&'a [u8]),
    /// A number.
    Integer(i64),
    /// Nothing is there.
    Nil,
    /// A short text.
    Simple(&'a [u8]),
}

impl<'a> Head<'a> {
    /// The first line of `input` and its length with its end; none if there is more of it to come.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if this is not how a server answers.
    pub fn parse(input: &'a [u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some((&kind, rest)) = input.split_first() else {
            return Ok(None);
        };
        if !b"*$-:+_".contains(&kind) {
            return Err(Malformed::of(input));
        }
        let Some(end) = rest
            .iter()
            .take(LONGEST_LINE)
            .position(|byte| *byte == b'\n')
        else {
            if rest.len() >= LONGEST_LINE {
                return Err(Malformed::of(input));
            }
            return Ok(None);
        };
        let Some(line) = rest[..end].strip_suffix(b"\r") else {
            return Err(Malformed::of(input));
        };
        let head = match kind {
            b'+' => Self::Simple(line),
            b'-' => Self::Error(line),
            b':' => Self::Integer(number(line).ok_or_else(|| Malformed::of(input))?),
            b'_' if line.is_empty() => Self::Nil,
            b'$' | b'*' => match number(line) {
                Some(-1) => Self::Nil,
                Some(len) => {
                    let len = usize::try_from(len).map_err(|_| Malformed::of(input))?;
                    if kind == b'$' {
                        Self::Bulk(len)
                    } else {
                        Self::Array(len)
                    }
                }
                None => return Err(Malformed::of(input)),
            },
            _ => return Err(Malformed::of(input)),
        };
        Ok(Some((head, end + 2)))
    }
}

/// A number as servers write it: no sign but minus, no blanks.
fn number(line: &[u8]) -> Option<i64> {
    if line.first() == Some(&b'+') {
        return None;
    }
    std::str::from_utf8(line).ok()?.parse().ok()
}

/// What came is no reply of a Redis server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A web server answered.
    #[error("a web server answers there; check hostname and port")]
    Http,
    /// A server answered that expects TLS, or alerts.
    #[error("a server answers there that speaks TLS; set tls, or use a rediss:// URL")]
    Tls,
    /// Too much of it, or too deeply nested.
    #[error("the server announces more than a reply of this kind can have")]
    Excessive,
    /// Another reply was due.
    #[error("the server answered with something else than the command asks for: {found}")]
    Unexpected {
        /// What it was.
        found: String,
    },
    /// Something else.
    #[error("what answers there is no Redis server: it sent {start}")]
    Unknown {
        /// How it began, readable.
        start: String,
    },
}

impl Malformed {
    /// Another reply was due.
    pub(crate) fn unexpected(head: &Head<'_>) -> Self {
        let found = match head {
            Head::Array(len) => format!("an array of {len}"),
            Head::Bulk(len) => format!("a value of {len} bytes"),
            Head::Error(_) => "an error".to_owned(),
            Head::Integer(number) => format!("the number {number}"),
            Head::Nil => "nothing".to_owned(),
            Head::Simple(text) => format!("'{}'", text.escape_ascii()),
        };
        Self::Unexpected { found }
    }

    /// What it looks like.
    pub(crate) fn of(input: &[u8]) -> Self {
        // An alert or a handshake record of TLS 1.0 to 1.3.
        if let [0x15 | 0x16, 3, ..] = input {
            return Self::Tls;
        }
        if input.starts_with(b"HTTP/") {
            return Self::Http;
        }
        let start = &input[..input.len().min(24)];
        Self::Unknown {
            start: format!("b\"{}\"", start.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_kind_of_line_is_read() {
        for (input, head) in [
            (&b"+OK\r\n"[..], Head::Simple(b"OK")),
            (b"-ERR no\r\n", Head::Error(b"ERR no")),
            (b":-12\r\n", Head::Integer(-12)),
            (b"$0\r\n", Head::Bulk(0)),
            (b"$-1\r\n", Head::Nil),
            (b"*-1\r\n", Head::Nil),
            (b"_\r\n", Head::Nil),
            (b"*3\r\n", Head::Array(3)),
            (b"$9223372036854775807\r\n", Head::Bulk(usize::MAX / 2)),
        ] {
            let mut more = input.to_vec();
            more.extend(b"$3\r\nabc\r\n");
            assert_eq!(Head::parse(&more), Ok(Some((head, input.len()))));
            for len in 0..input.len() {
                assert_eq!(Head::parse(&input[..len]), Ok(None), "{len} of {input:?}");
            }
        }
    }

    #[test]
    fn what_no_server_sends_is_told() {
        for input in [
            &b"?\r\n"[..],
            b"$\r\n",
            b"$-2\r\n",
            b"$+1\r\n",
            b"$ 1\r\n",
            b"$1\n",
            b":1x\r\n",
            b"_1\r\n",
            b"*9223372036854775808\r\n",
        ] {
            let error = Head::parse(input).expect_err("malformed");
            assert!(matches!(error, Malformed::Unknown { .. }), "{error}");
        }
        assert_eq!(
            Head::parse(b"HTTP/1.1 400 Bad Request\r\n"),
            Err(Malformed::Http)
        );
        assert_eq!(Head::parse(&[0x15, 3, 3, 0, 2]), Err(Malformed::Tls));
        assert!(Head::parse("+".repeat(LONGEST_LINE + 1).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn nothing_is_read_beyond_the_line(input in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(Some((_, len))) = Head::parse(&input) {
                prop_assert!(len <= input.len());
                prop_assert_eq!(&input[len - 2..len], b"\r\n");
                prop_assert_eq!(Head::parse(&input), Head::parse(&input[..len]));
            }
        }
    }
}
