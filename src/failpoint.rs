//! Named places where the tests of crashes end the process, as `kill -9` would there: `tests/crash/points.rs`.
//!
//! They are there only with the feature `failpoints`; the program as shipped does not hold so much as their names. Which
//! one ends the process is said in the environment: `FAILPOINTS="file.synced=2*off->return"`, the third time it is reached.

/// Ends the process here, if this place is the one.
macro_rules! here {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        crate::failpoint::reached($name);
    };
}

pub(crate) use here;

/// A place was reached.
#[cfg(feature = "failpoints")]
pub(crate) fn reached(name: &str) {
    static SET_UP: std::sync::Once = std::sync::Once::new();
    SET_UP.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    fail::fail_point!(name, |_| std::process::abort());
}
