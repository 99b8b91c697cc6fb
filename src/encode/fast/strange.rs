//! The names that a record has in the flat shape, and that nothing was learned of.

/// Names that no stamp tells of.
#[derive(Debug, Default)]
pub(super) struct Strange {
    text: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

/// More strange names than this are not looked for one by one.
const MOST_STRANGE: usize = 32;

impl Strange {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    pub(super) fn push(&mut self, name: &[u8]) {
        self.text.extend_from_slice(name);
        self.ends.push(self.text.len());
    }

    /// Whether one of them may stand twice in the flat object that `out` begins: that it does, the whole object tells.
    pub(super) fn may_repeat(&self, out: &[u8]) -> bool {
        let mut start = 0;
        self.ends.len() > MOST_STRANGE
            || self.ends.iter().any(|&end| {
                let name = self.text.get(std::mem::replace(&mut start, end)..end).unwrap_or_default();
                memchr::memmem::find_iter(out, name).nth(1).is_some()
            })
    }
}
