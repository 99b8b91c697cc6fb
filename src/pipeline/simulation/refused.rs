//! A server that refuses every record, each in words of its own: the delivery ends all the same, and each is in rejects.

use super::actors::Manners;
use super::objects::Objects;
use super::world::{Pace, Plan, World, smallest};
use super::{WINDOW, in_virtual_time};
use crate::encode::compress::Compression;
use crate::encode::frame::Frame;
use crate::encode::packer::Packing;
use crate::pipeline::rejects::entry::Entry;
use crate::pipeline::rejects::shelf;
use crate::testing::contract::Chance;

/// More than were remembered of one delivery when each refusal had a place of its own.
const RECORDS: usize = 300_000;

#[test]
fn a_delivery_of_which_every_record_is_refused_ends() {
    let objects = Objects::of_small_records(WINDOW, RECORDS);
    let packing = Packing {
        max_bytes: WINDOW / 8,
        max_records: u32::MAX,
        max_age: std::time::Duration::from_secs(1),
        when_idle: true,
        compression: Compression::None,
        lengths: true,
        frame: Frame::lines(),
    };
    let plan = Plan {
        objects: objects.all.clone(),
        slow: false,
        sinks: vec![(packing, Manners { wordy: true, ..Manners::default() })],
        partitioned: false,
        later: Default::default(),
        once: false,
    };
    let memory = 2 * smallest(std::slice::from_ref(&plan), &objects.limits);
    in_virtual_time(async {
        let mut world = World::new(vec![plan], memory, 1, objects.limits, Pace::Drawn, Chance::new(1));
        world.until(|world| world.sources[0].settled() == 1).await.unwrap();
        world.drain().await;
        // Each was sent once.
        let sent = world.takers[0][0].got(|got| (got.refused.len(), got.refused.values().max().copied()));
        assert_eq!(sent, (RECORDS, Some(1)));
        let pipeline = &world.pipelines[0];
        let totals = pipeline.totals();
        totals.books.balance().unwrap();
        assert_eq!(totals.books.sinks[0].rejected, RECORDS as u64);
        assert_eq!(pipeline.outcomes.forgotten(), 0);
        let folder = pipeline.rejects.folder();
        let mut stored = 0;
        for (number, _) in shelf::numbers(folder).unwrap() {
            let entry = Entry::open(&folder.join(shelf::free(number))).unwrap().unwrap();
            let reasons = entry.manifest.items.iter().filter(|item| !item.reason.is_empty());
            stored += reasons.count();
        }
        assert_eq!(stored, RECORDS);
        world.give_up().await;
    });
}
