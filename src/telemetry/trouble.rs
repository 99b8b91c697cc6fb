//! What keeps a part of the program from working now, and since when: said by the part, read by whoever asks.

use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;

/// A part's trouble; it has none at first.
#[derive(Debug, Default)]
pub struct Trouble(Mutex<Option<(Timestamp, String)>>);

impl Trouble {
    /// There is trouble, in words. Where there was some already, it has been going on since then.
    pub fn is(&self, now: Timestamp, what: impl Into<String>) {
        let mut trouble = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = trouble.take().map_or(now, |(since, _)| since);
        *trouble = Some((since, what.into()));
    }

    /// It works again.
    pub fn over(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The trouble there is, and since when.
    pub fn told(&self) -> Option<(Timestamp, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_lasts_from_the_first_word_to_the_end() {
        let trouble = Trouble::default();
        assert_eq!(trouble.told(), None);
        trouble.is(Timestamp(1), "full");
        trouble.is(Timestamp(2), "read-only");
        assert_eq!(trouble.told(), Some((Timestamp(1), "read-only".to_owned())));
        trouble.over();
        trouble.is(Timestamp(3), "full");
        assert_eq!(trouble.told(), Some((Timestamp(3), "full".to_owned())));
    }
}
