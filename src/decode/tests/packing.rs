//! gzip, zstd, and what can be wrong with them.

use super::*;

fn three() -> Vec<String> {
    (1..=3).map(|id| record(id, "")).collect()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 3).unwrap()
}

/// Decodes whole and in steps of several sizes; all must agree but for how pieces are cut.
#[track_caller]
fn every_way(stored: &[u8]) -> Out {
    let out = whole(stored);
    for step in [1, 3, 1000] {
        let other = run(Limits::default(), stored, step);
        assert_eq!(out.records, other.records, "steps of {step}");
        assert_eq!(out.damages, other.damages, "steps of {step}");
        assert_eq!(out.summary, other.summary, "steps of {step}");
    }
    let other = run(small(), stored, 100);
    assert_eq!((&out.records, out.damages.len()), (&other.records, other.damages.len()));
    out
}

#[test]
fn packing_is_told_by_content() {
    let text = file(&three());
    for (stored, packing) in [
        (text.clone().into_bytes(), Packing::Plain),
        (gz(text.as_bytes()), Packing::Gzip),
        (zstd(text.as_bytes()), Packing::Zstd),
    ] {
        let out = every_way(&stored);
        assert_eq!((out.records, out.damages.len()), (three(), 0));
        assert_eq!((out.summary.packing, out.summary.decompressed), (packing, text.len() as u64));
        assert_eq!(out.summary.members, u64::from(packing != Packing::Plain));
        assert!(!out.summary.incomplete);
    }
}

#[test]
fn nothing_packed_is_nothing() {
    for stored in [gz(b""), gz(br#"{"Records":[]}"#), zstd(b""), gz(b" \n")] {
        let out = every_way(&stored);
        assert_eq!((out.records.len(), out.damages.len(), out.summary.incomplete), (0, 0, false));
    }
}

#[test]
fn a_second_member_is_shipped_and_marked() {
    let all = three();
    let mut stored = gz(file(&all[..2]).as_bytes());
    stored.extend(gz(file(&all[2..]).as_bytes()));
    let out = every_way(&stored);
    assert_eq!((out.records, out.later, out.damages.len()), (all.clone(), vec![false, false, true], 0));
    assert_eq!(out.summary.members, 2);

    // One document cut into members in the middle of a record: from there on, marked.
    let text = file(&all);
    let cut = text.find("00000002").unwrap();
    let mut stored = gz(&text.as_bytes()[..cut]);
    stored.extend(gz(&text.as_bytes()[cut..]));
    let out = every_way(&stored);
    assert_eq!((out.records, out.later), (all.clone(), vec![false, true, true]));

    // Lines are appended member by member as a rule.
    let stored: Vec<u8> = all.iter().flat_map(|text| gz(format!("{text}\n").as_bytes())).collect();
    let out = every_way(&stored);
    assert_eq!((out.records, out.later, out.summary.members), (all, vec![false; 3], 3));
}

#[test]
fn a_member_cannot_hide_behind_a_copy_of_the_first_ones_trailer() {
    let first = gz(file(&three()[..1]).as_bytes());
    let mut stored = first.clone();
    stored.extend(gz(file(&three()[1..]).as_bytes()));
    stored.extend_from_slice(&first[first.len() - 8..]);
    let out = every_way(&stored);
    assert_eq!((out.records, out.later), (three(), vec![false, true, true]));
    assert_eq!(out.damages.len(), 1);
}

#[test]
fn many_frames_and_skippable_ones_are_read() {
    let text = file(&three());
    let mut stored = vec![0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, b'a', b'b', b'c'];
    stored.extend(zstd(&text.as_bytes()[..100]));
    stored.extend_from_slice(&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
    stored.extend(zstd(&text.as_bytes()[100..]));
    let out = every_way(&stored);
    assert_eq!((out.records, out.damages.len(), out.summary.packing), (three(), 0, Packing::Zstd));
}

#[test]
fn a_gzip_cut_short_ships_what_is_whole_and_says_so_once() {
    let text = file(&three());
    for stored in [gz(text.as_bytes()), zstd(text.as_bytes())] {
        for cut in 1..stored.len() {
            let out = every_way(&stored[..cut]);
            assert!(three().starts_with(&out.records), "{cut}");
            assert_eq!(out.damages.len(), 1, "{cut}: {:?}", out.damages);
            assert!(out.summary.incomplete || cut < 4, "{cut}");
        }
    }
    let stored = gz(text.as_bytes());
    let out = every_way(&stored[..stored.len() - 1]);
    assert_eq!((out.records, out.damages[0].0.len()), (three(), 0));
}

#[test]
fn garbage_behind_the_last_member_is_damage_with_its_address() {
    let stored = gz(file(&three()).as_bytes());
    for garbage in [&b"garbage"[..], &[0; 512], b"\x1f\x8b", b"\x1f\x8b\x08\xe0 reserved flags", &[7; 20_000]]
    {
        let mut all = stored.clone();
        all.extend_from_slice(garbage);
        let out = every_way(&all);
        assert_eq!(out.records, three());
        assert_eq!(out.damages.len(), 1, "{:?}", out.damages);
        assert_eq!(out.damages[0].0, garbage);
        assert_eq!((out.addresses[0].space, out.addresses[0].offset), (Space::Stored, stored.len() as u64));
        assert_eq!(out.addresses[0].length, garbage.len() as u64);
    }
}

#[test]
fn a_member_behind_garbage_is_found() {
    let mut stored = gz(file(&three()[..1]).as_bytes());
    stored.extend_from_slice(b"\0\0\0garbage");
    stored.extend(gz(file(&three()[1..]).as_bytes()));
    let out = every_way(&stored);
    assert_eq!((out.records, out.damages.len(), out.later), (three(), 1, vec![false, true, true]));
    assert_eq!(out.damages[0].0, b"\0\0\0garbage");
}

#[test]
fn a_damaged_member_counts_once_and_the_next_is_read() {
    let many: Vec<String> = (0..200).map(|id| record(id, &format!(r#","x":"{}""#, id * 7919))).collect();
    let mut stored = gz(file(&many[..150]).as_bytes());
    let end = stored.len();
    stored.extend(gz(file(&many[150..]).as_bytes()));
    for at in (20..end - 8).step_by(97) {
        let mut bad = stored.clone();
        bad[at] ^= 0x55;
        let out = every_way(&bad);
        assert!(out.records.ends_with(&many[150..]), "{at}");
        assert!(
            (1..=9).contains(&out.damages.len()),
            "{at}: {:?}",
            out.damages.iter().map(|d| &d.1).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_wrong_checksum_or_length_is_told_and_the_records_are_shipped() {
    let stored = gz(file(&three()).as_bytes());
    for from_end in [8, 1] {
        let mut bad = stored.clone();
        let at = bad.len() - from_end;
        bad[at] ^= 1;
        let out = every_way(&bad);
        assert_eq!(out.records, three());
        assert_eq!(out.damages.len(), 1);
        assert!(out.damages[0].1.contains("checksum"));
        assert!(!out.summary.incomplete);
    }
}

#[test]
fn a_bomb_is_stopped_by_size_and_by_ratio_in_bounded_memory() {
    let bomb = |opening: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(opening.as_bytes()).unwrap();
        for _ in 0..64 {
            encoder.write_all(&vec![b' '; 1 << 20]).unwrap();
        }
        encoder.finish().unwrap()
    };
    let text = file(&three());
    let stored = bomb(text.strip_suffix("]}").unwrap());
    let by_size = Limits { object: 20 << 20, ratio: u64::MAX, ..Limits::default() };
    let by_ratio = Limits { ratio: 100, ..Limits::default() };
    for (limits, word) in [(by_size, "bytes decompressed"), (by_ratio, "for one")] {
        for step in [0, 4096] {
            let out = run(limits, &stored, step);
            assert_eq!((&out.records, out.damages.len()), (&three(), 1));
            assert!(out.damages[0].1.contains(word), "{:?}", out.damages);
            assert!(out.summary.decompressed <= 21 << 20);
            assert!(out.capacity <= (16 << 20) + SLACK, "{}", out.capacity);
        }
    }
    // One endless string is not held either.
    let out = run(
        Limits { object: 60 << 20, ratio: u64::MAX, ..Limits::default() },
        &bomb(r#"{"Records":[{"a":""#),
        0,
    );
    assert_eq!((out.records.len(), out.damages.len()), (0, 1));
    assert!(out.damages[0].0.len() > 50 << 20);
    assert!(out.capacity <= (16 << 20) + SLACK, "{}", out.capacity);
    let zeros = zstd(&vec![b' '; 64 << 20]);
    let out = run(Limits::default(), &zeros, 0);
    assert_eq!(out.damages.len(), 1);
    assert!(out.capacity <= 8 << 20 && out.summary.decompressed < 8 << 20, "{:?}", out.summary);
}

#[test]
fn line_formats_have_no_limit_but_the_record() {
    let lines = format!("{}\n", record(1, "")).repeat(2000);
    let limits = Limits { object: 300 << 10, records: 10, window: 64 << 10, ..Limits::default() };
    for stored in [lines.clone().into_bytes(), gz(lines.as_bytes())] {
        let out = run(limits, &stored, 0);
        assert_eq!((out.records.len(), out.damages.len()), (2000, 0));
    }
}

#[test]
fn the_rest_behind_too_many_records_is_damage() {
    let out = run(Limits { records: 2, ..Limits::default() }, &gz(file(&three()).as_bytes()), 0);
    assert_eq!((out.records, out.damages.len()), (three()[..2].to_vec(), 1));
    assert_eq!(out.damages[0].0, format!("{}]}}", three()[2]).as_bytes());
}

#[test]
fn a_lying_length_field_is_not_trusted() {
    let text = file(&three());
    for length in [0u32, 10, u32::MAX, 7 << 20] {
        let mut stored = gz(text.as_bytes());
        let at = stored.len() - 4;
        stored[at..].copy_from_slice(&length.to_le_bytes());
        let out = whole(&stored);
        assert_eq!((out.records, out.damages.len()), (three(), 1));
        assert!(out.capacity <= 8 << 20);
    }
}

#[test]
fn an_object_that_lies_about_its_size_is_asked_for_a_whole_window_while_nothing_is_held() {
    let text = file(&(0..8000).map(|id| record(id, "")).collect::<Vec<_>>());
    let (front, back) = text.as_bytes().split_at(text.len() - 100_000);
    let stored = [gz(front), gz(back)].concat();
    let mut input = Input::Whole(&stored);
    let (mut tools, mut buffer) = (Tools::default(), Buffer::default());
    let mut scanner = Scanner::new(Arc::default(), crate::record::scan::ScanLimits::default());
    let mut decode = Decode::new(Limits::default());
    assert_eq!(decode.need(&input), 100_000);
    decode.fill(&mut tools, &mut input, &mut buffer).unwrap();
    assert_eq!(decode.next(&mut scanner, &mut buffer), Item::WindowEnd);
    assert!(!decode.holds(&buffer));
    assert_eq!(decode.need(&input), Limits::default().window);
    assert_eq!(whole(&stored).records.len(), 8000);
}
