//! Offering a record to the sinks: routed, encoded into an open chunk of its partition, each window's share marked.

use std::sync::Arc;

use super::Job;
use crate::encode::compress::Compressor;
use crate::encode::packer::Chunk;
use crate::encode::{self, Encoder};
use crate::pipeline::hands::{Hands, Place};
use crate::pipeline::line::{Pipeline, SinkLine};
use crate::pipeline::outcomes::{Answer, Lot, partition_hash};
use crate::record::Record;
use crate::sink::template::PartitionCache;
/// What encoding needs of a worker's hands while the record still borrows the rest.
pub(super) struct Packing<'a> {
    pub(super) encoders: &'a mut [Encoder],
    pub(super) partitions: &'a mut [PartitionCache],
    pub(super) places: &'a mut Vec<Place>,
    pub(super) compressor: &'a mut Compressor,
}

impl Job {
    /// Tells the paths which event times are believed in this window.
    pub(super) fn believe(&self, pipeline: &Pipeline, caches: &mut [PartitionCache]) {
        let live = pipeline.live && !self.again.is_known();
        for line in &pipeline.sinks {
            if let Some(partitions) = &line.partitions {
                caches[line.global].set_range(partitions.range(live, self.now));
            }
        }
    }

    /// Hands a record to every sink whose `match` it passes.
    pub(super) fn offer(
        &mut self,
        pipeline: &Pipeline,
        record: &Record<'_>,
        hands: &mut Packing<'_>,
        routed: u64,
        number: u64,
    ) {
        let mut anywhere = false;
        for (sink, line) in pipeline.sinks.iter().enumerate() {
            if self.again.leaves_out(sink) || line.route.is_some_and(|bit| routed >> bit & 1 == 0) {
                self.books.sink(sink).not_matched += 1;
                continue;
            }
            anywhere = true;
            let partition = match &line.partitions {
                Some(partitions) => partitions.partition(record, &mut hands.partitions[line.global]),
                None => &pipeline.nowhere,
            };
            let at = self.place(hands.places, sink, partition);
            let place = &mut hands.places[at];
            let ordinal = place.ordinal;
            if !self.known.is_empty() {
                let lot = Lot { window: self.window, sink, partition: partition_hash(partition) };
                match self.known.answer(lot, ordinal) {
                    Some(Answer::Delivered) => {
                        self.end_share(line, place);
                        place.ordinal += 1;
                        self.books.sink(sink).delivered += 1;
                        continue;
                    }
                    Some(Answer::Refused(reason)) => {
                        self.end_share(line, place);
                        place.ordinal += 1;
                        self.books.sink(sink).rejected += 1;
                        let offset = self.offset(record.span, number);
                        self.refused.record(
                            "sink",
                            Some(&line.name),
                            reason,
                            record,
                            pipeline.token,
                            offset,
                            number,
                        );
                        continue;
                    }
                    None => {}
                }
            }
            let own = (record.span.end - record.span.start) as usize;
            let estimate = own + own / 4 + 2048;
            let fits = |chunk: &mut Chunk| !line.packer.full(chunk) && line.packer.room(chunk, estimate);
            let fits = place.chunk.as_mut().is_some_and(fits);
            let mut chunk = match &mut place.chunk {
                // It stays where it is: it is large enough for moving it to and fro to be seen.
                Some(chunk) if fits => chunk,
                _ => {
                    self.send(line, place, hands.compressor);
                    self.begin(line, place)
                }
            };
            let packing = line.packer.packing();
            let encoder = &mut hands.encoders[line.shape];
            let mut end = packing.frame.write(encoder, record, &mut chunk.body, chunk.length);
            if line.packer.overflows(chunk, end) {
                let next = chunk.body[chunk.length..end].to_vec();
                self.send(line, place, hands.compressor);
                chunk = self.begin(line, place);
                if !line.packer.room(chunk, next.len()) {
                    self.overdrawn = true;
                }
                end = encode::put(&mut chunk.body, chunk.length, &next);
            }
            if !chunk.appended(end, packing.lengths) {
                self.overdrawn = true;
            }
            place.ordinal += 1;
        }
        if !anywhere {
            self.books.unrouted += 1;
        }
    }

    /// Counts a record at every sink that would get it, and hands it to none: answers are remembered by the count, and it
    /// must not depend on what is a copy this time.
    pub(super) fn pass_over(
        &mut self,
        pipeline: &Pipeline,
        record: &Record<'_>,
        hands: &mut Packing<'_>,
        routed: u64,
    ) {
        for (sink, line) in pipeline.sinks.iter().enumerate() {
            if self.again.leaves_out(sink) || line.route.is_some_and(|bit| routed >> bit & 1 == 0) {
                continue;
            }
            let partition = match &line.partitions {
                Some(partitions) => partitions.partition(record, &mut hands.partitions[line.global]),
                None => &pipeline.nowhere,
            };
            let at = self.place(hands.places, sink, partition);
            let place = &mut hands.places[at];
            self.end_share(line, place);
            place.ordinal += 1;
        }
    }

    /// Finds this worker's place for a sink and partition, or makes one.
    fn place(&mut self, places: &mut Vec<Place>, sink: usize, partition: &Arc<str>) -> usize {
        // Told by its address, nearly always: it comes from this worker's cache.
        let same = |place: &Place| place.sink == sink && Arc::ptr_eq(&place.partition, partition);
        let equal = |place: &Place| place.sink == sink && place.partition == *partition;
        if let Some(at) = places.iter().position(same).or_else(|| places.iter().position(equal)) {
            return at;
        }
        let mine = |(at, other, _): &(usize, Arc<str>, u32)| *at == sink && other == partition;
        let ordinal = match self.ordinals.iter().position(mine) {
            Some(at) => self.ordinals.swap_remove(at).2,
            None => 0,
        };
        places.push(Place {
            sink,
            partition: partition.clone(),
            chunk: None,
            first: 0,
            share_ordinal: ordinal,
            ordinal,
        });
        places.len() - 1
    }

    /// Takes a chunk to write into, and remembers where this window's part of it begins.
    fn begin<'p>(&mut self, line: &SinkLine, place: &'p mut Place) -> &'p mut Chunk {
        let mut chunk = match line.packer.check_out(&place.partition, self.now) {
            Some(chunk) => chunk,
            None => {
                self.overdrawn = true;
                line.packer.check_out_anyway(&place.partition, self.now)
            }
        };
        if !line.packer.room(&mut chunk, 1024) {
            self.overdrawn = true;
        }
        (place.first, place.share_ordinal) = (chunk.records, place.ordinal);
        place.chunk.insert(chunk)
    }

    /// This window's part of the chunk ends here.
    fn end_share(&self, line: &SinkLine, place: &mut Place) {
        if let (Some(mut chunk), Some(ack)) = (place.chunk.take(), &self.ack) {
            chunk.share(ack, place.first, self.window, place.share_ordinal);
            line.packer.check_in(chunk);
        }
    }

    /// Sends the chunk at hand, if there is one, with this window's share of it.
    fn send(&self, line: &SinkLine, place: &mut Place, compressor: &mut Compressor) {
        let Some(mut chunk) = place.chunk.take() else { return };
        if let Some(ack) = &self.ack {
            chunk.share(ack, place.first, self.window, place.share_ordinal);
        }
        line.packer.send(chunk, compressor);
    }

    /// Checks in every chunk this worker was writing into, with this window's share of each.
    pub(super) fn put_down(&mut self, hands: &mut Hands) {
        let pipeline = self.pipeline.clone();
        for mut place in hands.places.drain(..) {
            let line = &pipeline.sinks[place.sink];
            if place.chunk.as_ref().is_some_and(|chunk| line.packer.full(chunk)) {
                self.send(line, &mut place, &mut hands.compressor);
            } else {
                self.end_share(line, &mut place);
            }
            if place.ordinal > 0 {
                self.ordinals.push((place.sink, place.partition, place.ordinal));
            }
        }
    }
}
