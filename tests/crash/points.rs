//! The process ends at each place that matters, when it comes there for the first time, and later.

use std::time::Duration;

use rand_xoshiro::Xoshiro256PlusPlus as Chance;
use rand_xoshiro::rand_core::SeedableRng as _;

use crate::arrivals::Site;
use crate::here::{Ran, wait};

/// Where a run ends.
const POINTS: [&str; 15] = [
    "state.made",
    "state.before_commit",
    "state.committed",
    "journal.before_rename",
    "journal.renamed",
    "file.begun",
    "file.before_sync",
    "file.synced",
    "file.committed",
    "file.answered",
    "file.before_rename",
    "file.renamed",
    "rejects.synced",
    "rejects.renamed",
    // Between two sinks' answers.
    "runner.answered",
];
/// Where a start ends that puts in order what another crash left.
const AFTER_A_CRASH: [&str; 2] = ["recover.cut", "recover.renamed"];

/// Runs until the place is reached for the time after `passed`. Returns whether it was.
fn crashed(site: &mut Site, point: &str, passed: u64) -> bool {
    let points = format!("{point}={passed}*off->return");
    let points = if passed == 0 { format!("{point}=return") } else { points };
    let ran: Ran = site.here.start_with(&["run", "--once"], &[("FAILPOINTS", &points)]).end();
    site.oracle.ran(&ran);
    if ran.code.is_none() {
        return true;
    }
    assert!(matches!(ran.code, Some(0 | 3)), "{point}: {}", ran.said);
    false
}

fn settle(site: &mut Site) {
    site.complete();
    let ran = site.here.once();
    site.oracle.ran(&ran);
    site.oracle.check(&site.here, &ran);
}

fn site(chance: &mut Chance) -> Site {
    let mut site = Site::new();
    site.arrive(chance, 30);
    site
}

#[test]
fn nothing_is_lost_or_made_up_at_any_point() {
    let mut chance = Chance::seed_from_u64(4);
    for point in POINTS {
        let mut site = site(&mut chance);
        for passed in [0, 1, 2, 5] {
            if passed > 0 {
                // It may come to its end, and would wait for what is not whole.
                site.complete();
            }
            let reached = crashed(&mut site, point, passed);
            assert!(reached || passed > 0, "{point} is not reached");
            // What comes meanwhile is mixed with what is shipped again; once it crashes twice before all is settled.
            site.arrive(&mut chance, 10);
            if passed != 1 {
                settle(&mut site);
                site.arrive(&mut chance, 10);
            }
        }
        settle(&mut site);
        eprintln!("{point}: {:?} copies and told", site.oracle.copies);
    }
}

#[test]
fn nothing_is_lost_or_made_up_when_it_ends_while_it_puts_a_crash_in_order() {
    let mut chance = Chance::seed_from_u64(5);
    for (point, passed) in AFTER_A_CRASH.into_iter().flat_map(|point| [(point, 0), (point, 1)]) {
        let mut site = site(&mut chance);
        // Beyond the first sync: there are bytes behind those that the journal tells of.
        let points = [("FAILPOINTS", "file.before_sync=9*off->return")];
        let mut running = site.here.start_with(&["run"], &points);
        let arriving = wait(|| {
            site.arrive(&mut chance, 3);
            std::thread::sleep(Duration::from_millis(100));
            running.has_ended()
        });
        assert_eq!(arriving, None, "not ended: {}", running.said());
        site.oracle.ran(&running.end());
        site.complete();
        let reached = crashed(&mut site, point, passed);
        assert!(reached || passed > 0, "{point} is not reached");
        settle(&mut site);
    }
}
