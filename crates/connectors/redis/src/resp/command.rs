//! Commands as bytes.

/// Commands being written one after the other into one buffer.
///
/// A command is the number of its arguments, then each argument as its length and its bytes. Large
/// arguments are not copied: [`open_argument`](Self::open_argument) writes what comes before such
/// a one, [`close_argument`](Self::close_argument) what comes after.
#[derive(Debug, Default)]
pub struct Command {
    bytes: Vec<u8>,
}

impl Command {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// A command all of whose arguments are small.
    #[must_use]
    pub fn of(arguments: &[&[u8]]) -> Self {
        let mut command = Self::new();
        command.push(arguments);
        command
    }

    /// Adds a command all of whose arguments are small.
    pub fn push(&mut self, arguments: &[&[u8]]) {
        self.begin(arguments.len());
        for argument in arguments {
            self.argument(argument);
        }
    }

    /// Begins a command of so many arguments, its name among them.
    pub fn begin(&mut self, arguments: usize) {
        self.line(b'*', arguments);
    }

    /// Adds an argument.
    pub fn argument(&mut self, argument: &[u8]) {
        self.open_argument(argument.len());
        self.bytes.extend_from_slice(argument);
        self.close_argument();
    }

    /// Adds a number as an argument.
    pub fn number(&mut self, number: u64) {
        self.argument(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Says that an argument of `len` bytes follows.
    pub fn open_argument(&mut self, len: usize) {
        self.line(b'$', len);
    }

    /// Ends an argument.
    pub fn close_argument(&mut self) {
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Room for `len` more bytes of an argument, to be filled in place.
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        let start = self.bytes.len();
        self.bytes.resize(start + len, 0);
        &mut self.bytes[start..]
    }

    /// What is there so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of bytes so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Begins anew, in the same memory unless that is large.
    pub fn clear(&mut self, keep: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(keep);
    }

    fn line(&mut self, kind: u8, number: usize) {
        self.bytes.push(kind);
        let mut buffer = itoa::Buffer::new();
        self.bytes
            .extend_from_slice(buffer.format(number).as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_counted_and_their_arguments_measured() {
        let mut command = Command::of(&[b"GET", b"k"]);
        command.begin(3);
        command.argument(b"SET");
        command.argument(b"");
        command.number(120);
        assert_eq!(
            command.as_bytes(),
            b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*3\r\n$3\r\nSET\r\n$0\r\n\r\n$3\r\n120\r\n"
        );
    }

    #[test]
    fn an_argument_can_be_filled_in_place() {
        let mut command = Command::new();
        command.open_argument(2);
        command.room(2).copy_from_slice(b"ab");
        command.close_argument();
        assert_eq!(command.as_bytes(), b"$2\r\nab\r\n");
        command.clear(0);
        assert!(command.is_empty());
    }
}
