//! How often what happened.

/// How operations ended, to see that the simulation reaches what it should.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) put: u64,
    pub(crate) got: u64,
    pub(crate) read: u64,
    pub(crate) absent: u64,
    pub(crate) refused: u64,
    pub(crate) cancelled: u64,
    pub(crate) lost: u64,
    pub(crate) corrupted: u64,
    pub(crate) undone: u64,
    pub(crate) violations: u64,
    pub(crate) silent: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, number) in self.numbers().into_iter().zip({ *other }.numbers()) {
            *sum += *number;
        }
    }

    fn numbers(&mut self) -> [&mut u64; 11] {
        [
            &mut self.put,
            &mut self.got,
            &mut self.read,
            &mut self.absent,
            &mut self.refused,
            &mut self.cancelled,
            &mut self.lost,
            &mut self.corrupted,
            &mut self.undone,
            &mut self.violations,
            &mut self.silent,
        ]
    }

    /// Every way to end occurs so often that a check of it means something.
    pub(crate) fn assert_everything_happened(mut self) {
        let all = self.numbers().map(|number| *number);
        assert!(all.into_iter().all(|number| number >= 10), "{self:?}");
        eprintln!("{self:?}");
    }
}
