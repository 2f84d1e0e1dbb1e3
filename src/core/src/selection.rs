//! Which elements of an array a function keeps, and in which order.

/// The elements that the result has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All, in array order: the input is the result.
    All,
    /// Those whose bit is set, in array order.
    Marked(Marks),
    /// These handles, in this order.
    Ordered(Vec<u32>),
}

/// One bit per element, in array order. Bits are stored for elements that do *not* stay, up to the last such: an array
/// without any costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    dropped: Vec<u64>,
    len: usize,
    kept: usize,
}

impl Marks {
    /// No elements yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { dropped: Vec::new(), len: 0, kept: 0 }
    }

    /// Adds a mark for the next element.
    #[inline]
    pub fn push(&mut self, keep: bool) {
        self.len += 1;
        self.kept += 1;
        if !keep {
            self.clear(self.len - 1);
        }
    }

    /// Takes the mark of an element back.
    #[inline]
    pub fn clear(&mut self, index: usize) {
        if self.dropped.len() <= index / 64 {
            self.dropped.resize(index / 64 + 1, 0);
        }
        let bit = 1 << (index % 64);
        if let Some(word) = self.dropped.get_mut(index / 64) {
            self.kept -= usize::from(*word & bit == 0);
            *word |= bit;
        }
    }

    /// Whether an element is marked.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> bool {
        self.dropped.get(index / 64).is_none_or(|word| word >> (index % 64) & 1 == 0)
    }

    /// How many elements are marked.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.kept
    }

    /// [`Selection::All`] when every mark is set.
    #[must_use]
    pub fn into_selection(self) -> Selection {
        if self.kept == self.len { Selection::All } else { Selection::Marked(self) }
    }
}
