//! Small replies, put together.

use super::head::{Head, Malformed};

/// How deep arrays may stand in arrays: the map of a cluster needs four.
const DEEPEST: usize = 6;

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Replies in order.
    Array(Vec<Self>),
    /// Bytes.
    Bulk(Vec<u8>),
    /// A refusal.
    Error(String),
    /// A number.
    Integer(i64),
    /// Nothing.
    Nil,
    /// A short text.
    Simple(Vec<u8>),
}

impl Value {
    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Bulk(bytes) | Self::Simple(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The replies within, if there are any.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }
}

/// Puts one reply together from whatever pieces arrive.
#[derive(Debug)]
pub struct Decoder {
    /// Arrays that are not complete: how many replies each lacks, and those it has.
    open: Vec<(usize, Vec<Value>)>,
    /// Bytes that are not complete, and how many there will be.
    bulk: Option<(Vec<u8>, usize)>,
    /// How much may still come, so that nobody fills memory with one reply.
    budget: usize,
}

impl Decoder {
    /// Takes one reply that counts, with every value in it, for at most `budget` bytes.
    #[must_use]
    pub const fn new(budget: usize) -> Self {
        Self {
            open: Vec::new(),
            bulk: None,
            budget,
        }
    }

    /// Takes what it can of `input` and returns how much that was, and the reply once it is whole.
    /// The rest has to be there again next time, with more.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if this is no reply, or too much of one.
    pub fn feed(&mut self, input: &[u8]) -> Result<(usize, Option<Value>), Malformed> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            let value = if let Some((bytes, len)) = &mut self.bulk {
                let more = (*len - bytes.len()).min(rest.len());
                bytes.extend_from_slice(&rest[..more]);
                taken += more;
                let rest = &input[taken..];
                if bytes.len() < *len || rest.len() < 2 {
                    return Ok((taken, None));
                }
                if !rest.starts_with(b"\r\n") {
                    return Err(Malformed::of(rest));
                }
                taken += 2;
                let bytes = std::mem::take(bytes);
                self.bulk = None;
                Value::Bulk(bytes)
            } else {
                let Some((head, len)) = Head::parse(rest)? else {
                    return Ok((taken, None));
                };
                taken += len;
                // A value costs its place, too.
                self.spend(len.max(size_of::<Value>()))?;
                match head {
                    Head::Array(0) => Value::Array(Vec::new()),
                    Head::Array(len) => {
                        if self.open.len() >= DEEPEST || len > self.budget {
                            return Err(Malformed::Excessive);
                        }
                        self.open.push((len, Vec::new()));
                        continue;
                    }
                    Head::Bulk(len) => {
                        self.spend(len)?;
                        self.bulk = Some((Vec::new(), len));
                        continue;
                    }
                    Head::Error(text) => Value::Error(String::from_utf8_lossy(text).into_owned()),
                    Head::Integer(number) => Value::Integer(number),
                    Head::Nil => Value::Nil,
                    Head::Simple(text) => Value::Simple(text.to_vec()),
                }
            };
            if let Some(value) = self.close(value) {
                return Ok((taken, Some(value)));
            }
        }
    }

    /// Puts a value where it belongs; what is whole then, if anything is.
    fn close(&mut self, mut value: Value) -> Option<Value> {
        while let Some((missing, mut values)) = self.open.pop() {
            values.push(value);
            if missing > 1 {
                self.open.push((missing - 1, values));
                return None;
            }
            value = Value::Array(values);
        }
        Some(value)
    }

    fn spend(&mut self, len: usize) -> Result<(), Malformed> {
        let left = self.budget.checked_sub(len);
        self.budget = left.ok_or(Malformed::Excessive)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(value: &Value, into: &mut Vec<u8>) {
        match value {
            Value::Array(values) => {
                into.extend(format!("*{}\r\n", values.len()).bytes());
                for value in values {
                    encode(value, into);
                }
            }
            Value::Bulk(bytes) => {
                into.extend(format!("${}\r\n", bytes.len()).bytes());
                into.extend(bytes);
                into.extend(b"\r\n");
            }
            Value::Error(text) => into.extend(format!("-{text}\r\n").bytes()),
            Value::Integer(number) => into.extend(format!(":{number}\r\n").bytes()),
            Value::Nil => into.extend(b"$-1\r\n"),
            Value::Simple(text) => {
                into.push(b'+');
                into.extend(text);
                into.extend(b"\r\n");
            }
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bulk),
            "[a-zA-Z ]{0,20}".prop_map(Value::Error),
            any::<i64>().prop_map(Value::Integer),
            Just(Value::Nil),
            "[a-zA-Z ]{0,20}".prop_map(|text| Value::Simple(text.into_bytes())),
        ];
        leaf.prop_recursive(4, 30, 5, |inner| {
            prop::collection::vec(inner, 0..5).prop_map(Value::Array)
        })
    }

    /// Feeds the bytes in pieces, as a socket gives them.
    fn decode(bytes: &[u8], pieces: &[usize]) -> Result<Option<(Value, usize)>, Malformed> {
        let mut decoder = Decoder::new(1 << 20);
        let (mut arrived, mut taken) = (0, 0);
        for piece in pieces.iter().chain([&bytes.len()]) {
            arrived = (arrived + piece).min(bytes.len());
            let (more, value) = decoder.feed(&bytes[taken..arrived])?;
            taken += more;
            if let Some(value) = value {
                return Ok(Some((value, taken)));
            }
        }
        Ok(None)
    }

    #[test]
    fn too_much_is_refused_before_it_comes() {
        let refused = |input: &[u8]| Decoder::new(1000).feed(input);
        assert_eq!(refused(b"$1001\r\n"), Err(Malformed::Excessive));
        assert_eq!(refused(b"*1001\r\n"), Err(Malformed::Excessive));
        assert_eq!(refused(&b"*1\r\n".repeat(9)), Err(Malformed::Excessive));
        let mut many = b"*900\r\n".to_vec();
        many.extend(b"_\r\n".repeat(900));
        assert_eq!(refused(&many), Err(Malformed::Excessive));
        assert!(Decoder::new(100).feed(b"$2\r\nabcd").is_err());
    }

    proptest! {
        #[test]
        fn replies_arrive_in_any_pieces(
            value in value(),
            pieces in prop::collection::vec(0..9_usize, 0..30),
        ) {
            let mut bytes = Vec::new();
            encode(&value, &mut bytes);
            let len = bytes.len();
            bytes.extend(b"+next\r\n");
            prop_assert_eq!(decode(&bytes, &pieces), Ok(Some((value, len))));
            prop_assert_eq!(decode(&bytes[..len - 1], &pieces), Ok(None));
        }

        #[test]
        fn garbage_is_an_error_or_a_value(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            pieces in prop::collection::vec(0..9_usize, 0..30),
        ) {
            let whole = decode(&bytes, &[]);
            if let Ok(Some(_)) = &whole {
                prop_assert_eq!(&decode(&bytes, &pieces), &whole);
            }
        }
    }
}
