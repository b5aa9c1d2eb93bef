//! What the cells of a slab are like, and where they are in its file.
//!
//! A slab keeps its shape for as long as its namespace lives, even when its file is made anew: where
//! a cell's words are never changes, so whoever still has the old file mapped finds words of the
//! same kind there, of a generation that is over.

/// The words at the beginning of a slab's file, which say what it is.
pub(crate) const FILE_WORDS: usize = 8;
/// The words of a cell's header.
pub(crate) const CELL_WORDS: usize = 4;
/// The words of a ticket, which has no payload.
pub(crate) const TICKET_WORDS: usize = 2;

/// Bytes that the cells of each class have for their objects: powers of two, and between each two
/// of them one half as large again, so that at most a third of a cell is wasted. Zero: tickets.
const SIZES: [usize; CLASSES] = [
    128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12_288, 16_384, 0,
];
/// How many classes there are.
pub(crate) const CLASSES: usize = 16;
/// The class of tickets.
const TICKETS: u8 = 15;

/// About how many bytes a process's first, second and further slabs of a class take: one small
/// object should not cost a megabyte, and many should not cost thousands of files.
const STEPS: [usize; 3] = [64 << 10, 256 << 10, 1 << 20];
/// The fewest cells that are worth a file.
const FEWEST: usize = 4;
/// The most cells that references can tell apart.
const MOST: usize = crate::key::CELLS as usize;

/// Cells begin on cache lines.
const LINE: usize = 64;
const PAGE: usize = 4096;

/// What the cells of a slab are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    class: u8,
    step: u8,
}

/// Which objects are put into the same slabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class(u8);

impl Class {
    /// The class of tickets.
    pub(crate) const TICKETS: Self = Self(TICKETS);

    /// The class of the smallest cells that hold `len` bytes, if there are such.
    pub(crate) fn of(len: usize) -> Option<Self> {
        if len <= SIZES[0] {
            return Some(Self(0));
        }
        if len > super::LARGEST {
            return None;
        }
        // Two classes for each power of two: `top` is the largest that is less than `len`.
        let top = (len - 1).ilog2();
        let upper = len > (1 << top) + (1 << (top - 1));
        let class = 2 * (top - SIZES[0].ilog2()) + 1 + u32::from(upper);
        u8::try_from(class).ok().map(Self)
    }

    /// All classes.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..=TICKETS).map(Self)
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// The shape of a process's next slab of this class, if it has `count` of them.
    pub(crate) fn shape(self, count: usize) -> Shape {
        let step = u8::try_from(count.min(STEPS.len() - 1)).unwrap_or(0);
        Shape {
            class: self.0,
            step,
        }
    }
}

impl Shape {
    /// The shape as a number, never zero.
    pub(crate) const fn to_bits(self) -> u8 {
        ((self.class + 1) << 2) | self.step
    }

    /// The shape that `to_bits` made the number of, if there is one.
    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        let class = (bits >> 2).checked_sub(1)?;
        let step = bits & 3;
        let known = usize::from(class) < CLASSES && usize::from(step) < STEPS.len();
        known.then_some(Self { class, step })
    }

    /// The next smaller slab of the same class.
    pub(crate) fn smaller(self) -> Option<Self> {
        let step = self.step.checked_sub(1)?;
        Some(Self { step, ..self })
    }

    pub(crate) const fn class(self) -> Class {
        Class(self.class)
    }

    pub(crate) const fn is_tickets(self) -> bool {
        self.class == TICKETS
    }

    /// Bytes of an object that a cell has room for.
    pub(crate) fn cell_len(self) -> usize {
        SIZES[usize::from(self.class)]
    }

    /// How many cells there are.
    pub(crate) fn cells(self) -> usize {
        let room = STEPS[usize::from(self.step)] - FILE_WORDS * 8;
        (room / (self.header_words() * 8 + self.cell_len())).clamp(FEWEST, MOST)
    }

    /// The words of each cell's header.
    pub(crate) const fn header_words(self) -> usize {
        if self.is_tickets() {
            TICKET_WORDS
        } else {
            CELL_WORDS
        }
    }

    /// Where the header of a cell is in the file.
    pub(crate) const fn header_at(self, cell: usize) -> usize {
        (FILE_WORDS + cell * self.header_words()) * 8
    }

    /// Where the object of a cell is in the file.
    pub(crate) fn payload_at(self, cell: usize) -> usize {
        self.header_at(self.cells()).next_multiple_of(LINE) + cell * self.cell_len()
    }

    /// Bytes of the file.
    pub(crate) fn len(self) -> usize {
        self.payload_at(self.cells()).next_multiple_of(PAGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes() -> impl Iterator<Item = Shape> {
        (0..=u8::MAX).filter_map(Shape::from_bits)
    }

    #[test]
    fn objects_go_into_the_smallest_cells_that_hold_them() {
        for len in 0..=super::super::LARGEST {
            let class = Class::of(len).expect("a class");
            let index = class.index();
            assert!(SIZES[index] >= len, "{len}");
            assert!(index == 0 || SIZES[index - 1] < len, "{len}");
        }
        assert_eq!(Class::of(super::super::LARGEST + 1), None);
    }

    #[test]
    fn cells_lie_apart_within_the_file() {
        for shape in shapes() {
            let cells = shape.cells();
            assert!((FEWEST..=MOST).contains(&cells), "{shape:?}");
            assert_eq!(shape.payload_at(0) % LINE, 0);
            assert_eq!(shape.len() % PAGE, 0);
            assert!(shape.header_at(cells) <= shape.payload_at(0));
            assert!(shape.payload_at(cells) <= shape.len());
            assert!(
                shape.len() <= STEPS[usize::from(shape.step)] + 2 * PAGE,
                "{shape:?}"
            );
        }
    }

    #[test]
    fn shapes_make_the_round_trip() {
        assert_eq!(shapes().count(), CLASSES * STEPS.len());
        for bits in 0..=u8::MAX {
            if let Some(shape) = Shape::from_bits(bits) {
                assert_eq!(shape.to_bits(), bits);
            }
        }
        assert_eq!(Shape::from_bits(0), None);
    }
}
