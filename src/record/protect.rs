//! Protection: what no rule may thin by accident.

/// Why a record is protected: a set of reasons; empty means it may be thinned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protection(pub u32);

impl Protection {
    /// Any `errorCode` or `errorMessage`.
    pub const ERRORS: Protection = Protection(1);
    /// Sign-in events.
    pub const SIGNIN: Protection = Protection(1 << 1);
    /// STS.
    pub const STS: Protection = Protection(1 << 2);
    /// Root and assumed root.
    pub const ROOT: Protection = Protection(1 << 3);
    /// Management events whose `readOnly` is not `true`.
    pub const WRITES: Protection = Protection(1 << 4);
    /// Network activity with an error.
    pub const NETWORK: Protection = Protection(1 << 5);
    /// Insights.
    pub const INSIGHTS: Protection = Protection(1 << 6);
    /// Addenda.
    pub const ADDENDA: Protection = Protection(1 << 7);
    /// A signal family.
    pub const SIGNAL: Protection = Protection(1 << 8);
    /// `[protect] also`.
    pub const ALSO: Protection = Protection(1 << 9);
    /// Could not be classified.
    pub const UNCLASSIFIED: Protection = Protection(1 << 10);

    /// Both sets.
    pub const fn with(self, other: Protection) -> Protection {
        Protection(self.0 | other.0)
    }

    /// Whether any reason holds.
    pub const fn any(self) -> bool {
        self.0 != 0
    }
}
