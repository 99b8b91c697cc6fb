use std::collections::BTreeSet;

use super::*;

const PREFIX: &str = "AWSLogs/123456789012/CloudTrail/eu-west-1/";

/// A bucket with one partition, listed a thousand keys at a time.
#[derive(Default)]
struct Bucket {
    keys: BTreeSet<String>,
    /// Objects that counted as late.
    late: std::cell::Cell<u64>,
}

impl Bucket {
    /// Puts an object; the time is `20240229T2355`.
    fn put(&mut self, time: &str, random: &str) -> String {
        let key = format!(
            "{PREFIX}{}/{}/{}/123456789012_CloudTrail_eu-west-1_{time}Z_{random}.json.gz",
            &time[..4],
            &time[4..6],
            &time[6..8]
        );
        self.keys.insert(key.clone());
        key
    }

    /// Polls once, and counts the requests.
    fn poll(&self, partition: &mut Partition, now: Minute) -> (Vec<String>, u32) {
        let (mut news, mut requests) = (Vec::new(), 0);
        loop {
            let request = partition.request(now).unwrap();
            requests += 1;
            let mut found = self.keys.range::<String, _>((
                std::ops::Bound::Excluded(request.start_after),
                std::ops::Bound::Unbounded,
            ));
            let listed = |key: &String| Listed { key: key.clone(), size: 1, tag: String::new() };
            let page: Vec<Listed> = found.by_ref().take(1000).map(listed).collect();
            let more = found.next().is_some();
            let brought = partition.take(page, more, now);
            self.late.set(self.late.get() + brought.late);
            news.extend(brought.objects.into_iter().map(|object| object.key));
            partition.waiting = 0;
            if !more {
                return (news, requests);
            }
        }
    }
}

fn at(time: &str) -> Minute {
    keys::minute(&format!("x_{time}Z_y")).unwrap()
}

#[test]
fn a_file_that_appears_after_newer_ones_is_found_and_nothing_twice() {
    let (mut bucket, mut partition) = (Bucket::default(), Partition::new(PREFIX.into(), at("20240229T1700")));
    bucket.put("20240229T1659", "before-the-floor");
    let first = bucket.put("20240229T1815", "m");
    let third = bucket.put("20240229T1825", "m");
    let now = at("20240229T1826");
    assert_eq!(bucket.poll(&mut partition, now), (vec![first, third], 1));
    // The Wazuh case, and one of the same minute that sorts before.
    let late = bucket.put("20240229T1820", "m");
    let same = bucket.put("20240229T1825", "a");
    assert_eq!(bucket.poll(&mut partition, now), (vec![late, same], 1));
    assert_eq!(bucket.poll(&mut partition, now), (vec![], 1));
}

#[test]
fn midnight_month_and_year_need_no_second_request() {
    for (last, late, next, now) in [
        ("20240229T2355", "20240229T2350", "20240301T0000", "20240301T0001"),
        ("20231231T2359", "20231231T2301", "20240101T0004", "20240101T0005"),
    ] {
        let (mut bucket, mut partition) =
            (Bucket::default(), Partition::new(PREFIX.into(), at(last).before(600)));
        let last = bucket.put(last, "m");
        assert_eq!(bucket.poll(&mut partition, at(now).before(2)).0, [last]);
        let (late, next) = (bucket.put(late, "m"), bucket.put(next, "m"));
        assert_eq!(bucket.poll(&mut partition, at(now)), (vec![late, next], 1));
    }
}

#[test]
fn a_day_late_is_found_by_the_sweep_and_widens_the_look_back() {
    let (mut bucket, mut partition) = (Bucket::default(), Partition::new(PREFIX.into(), at("20240220T0000")));
    bucket.put("20240229T1200", "m");
    let now = at("20240229T1201");
    bucket.poll(&mut partition, now);
    bucket.poll(&mut partition, now);
    let late = bucket.put("20240229T0700", "m");
    assert_eq!(bucket.poll(&mut partition, now).0, Vec::<String>::new());
    assert_eq!(bucket.poll(&mut partition, Minute(now.0 + SWEEP_EVERY)).0, [late]);
    assert_eq!((partition.cursor.late, bucket.late.get()), (300, 1));
    let another = bucket.put("20240229T0730", "m");
    assert_eq!(bucket.poll(&mut partition, Minute(now.0 + SWEEP_EVERY + 1)).0, [another]);
    assert_eq!(bucket.late.get(), 1, "it is looked back so far now");
}

#[test]
fn a_backfill_goes_page_by_page_and_a_restart_goes_on_where_it_was() {
    let (mut bucket, mut partition) = (Bucket::default(), Partition::new(PREFIX.into(), at("20240101T0000")));
    let mut all = Vec::new();
    for day in 1..=28 {
        for hour in 0..24 {
            for file in 0..4 {
                all.push(bucket.put(&format!("202402{day:02}T{hour:02}{:02}", file * 15), "m"));
            }
        }
    }
    let now = at("20240229T0000");
    let request = partition.request(now).unwrap();
    let page: Vec<Listed> = bucket
        .keys
        .iter()
        .filter(|key| **key > request.start_after)
        .take(1000)
        .map(|key| Listed { key: key.clone(), size: 1, tag: String::new() })
        .collect();
    let first: Vec<String> =
        partition.take(page, true, now).objects.into_iter().map(|object| object.key).collect();
    // 1,000 objects of 2,688.
    let until = at("20240229T0000");
    let way = partition.way(until).unwrap();
    assert!(way.0 * 10 / way.1 == 3 && way.1 == 28 * 24 * 60, "{way:?}");
    partition.is_over = true;
    assert_eq!(partition.way(until), Some((way.1, way.1)));
    // Only what the state has is left.
    let mut again = Partition::restored(PREFIX.into(), partition.cursor.clone());
    let (rest, requests) = bucket.poll(&mut again, now);
    assert_eq!([first, rest].concat(), all);
    assert_eq!(requests, 2);
    // A restart that remembers what was seen ships nothing twice.
    let mut third = Partition::restored(PREFIX.into(), again.cursor.clone());
    again.seen.iter().for_each(|(hour, hashes)| third.remember(*hour, hashes.clone()));
    assert_eq!(bucket.poll(&mut third, now).0, Vec::<String>::new());
}

#[test]
fn what_is_remembered_is_bounded_by_its_age() {
    let (mut bucket, mut partition) = (Bucket::default(), Partition::new(PREFIX.into(), at("20240201T0000")));
    for day in 1..=28 {
        for hour in 0..24 {
            bucket.put(&format!("202402{day:02}T{hour:02}00"), "m");
            bucket.poll(&mut partition, at(&format!("202402{day:02}T{hour:02}05")));
        }
    }
    assert!(partition.seen.len() as i64 <= KEPT + 2, "{}", partition.seen.len());
}

#[test]
fn a_quiet_partition_is_polled_less() {
    let mut partition = Partition::new(PREFIX.into(), Minute(0));
    let now = at("20240229T1200");
    partition.cursor.came = now.0 - 10;
    assert_eq!(partition.rest(now, 60), 60);
    partition.cursor.came = now.0 - 121;
    let rests: Vec<i64> = (0..6).map(|_| partition.rest(now, 60)).collect();
    assert_eq!(rests, [120, 240, 480, 900, 900, 900]);
}
