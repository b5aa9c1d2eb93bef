//! Descriptors, where the standard library keeps an answer to itself.

use std::{
    io,
    os::fd::{IntoRawFd, OwnedFd},
};

/// Closes a descriptor and tells what the system says about it, which dropping it does not: a
/// network file system may notice only now that it has no room for what was written.
///
/// # Errors
///
/// Whatever `close(2)` answers. The descriptor is gone all the same.
pub fn close(descriptor: OwnedFd) -> io::Result<()> {
    // SAFETY: `into_raw_fd` gives the descriptor up, so nobody else closes it, and it is not used
    // again.
    let answer = unsafe { libc::close(descriptor.into_raw_fd()) };
    if answer == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // Linux has closed the descriptor before it could be interrupted.
        error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_ends_the_other_side_of_a_pipe() {
        let (reader, writer) = io::pipe().expect("a pipe");
        close(writer.into()).expect("nothing was written");
        assert_eq!(io::read_to_string(reader).expect("an end"), "");
    }
}
