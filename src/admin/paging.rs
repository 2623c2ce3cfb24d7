//! Which part of a long list an answer has.

use serde::Serialize;

/// As many as one screen and a little more.
const LIMIT: usize = 100;
/// As many as an answer has at most: some megabytes.
const LIMIT_MAX: usize = 10_000;

/// The part that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Paging {
    /// How many entries the question was about, shown or not.
    matched: usize,
    /// How many of them are left out at the beginning.
    offset: usize,
    /// How many are shown at most.
    limit: usize,
}

impl Paging {
    /// A part of a list whose length is not known yet.
    ///
    /// # Errors
    ///
    /// When more is asked for than an answer has.
    pub(super) fn asked(offset: Option<usize>, limit: Option<usize>) -> Result<Self, String> {
        let (offset, limit) = (offset.unwrap_or(0), limit.unwrap_or(LIMIT));
        if limit > LIMIT_MAX {
            return Err(format!("limit: must be {LIMIT_MAX} at most"));
        }
        Ok(Self { matched: 0, offset, limit })
    }

    /// Leaves that part of the list.
    pub(super) fn cut<T>(&mut self, list: &mut Vec<T>) {
        self.matched = list.len();
        list.drain(..self.offset.min(list.len()));
        list.truncate(self.limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_cut_out_and_says_of_how_many() {
        let mut paging = Paging::asked(Some(3), Some(2)).unwrap();
        let mut list: Vec<_> = (0..10).collect();
        paging.cut(&mut list);
        assert_eq!((list, paging.matched), (vec![3, 4], 10));
        let mut none: Vec<_> = (0..2).collect();
        paging.cut(&mut none);
        assert_eq!((none.len(), paging.matched), (0, 2));
    }

    #[test]
    fn more_than_an_answer_has_is_refused() {
        assert!(Paging::asked(None, Some(LIMIT_MAX)).is_ok());
        assert_eq!(
            Paging::asked(None, Some(LIMIT_MAX + 1)),
            Err("limit: must be 10000 at most".to_owned())
        );
    }
}
