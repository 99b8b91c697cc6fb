//! Line formats can be gone on with at the end of a window: what follows is the same, window by window.

use proptest::prelude::*;

use super::*;

type Told = (String, u64);

/// What one window gave, and where it ended, if it can be gone on from there.
#[derive(Debug, PartialEq)]
struct Window {
    /// Number, bytes, reason of damage and its offset.
    items: Vec<(u64, Vec<u8>, Option<Told>)>,
    boundary: Option<Boundary>,
}

/// Decodes from a boundary; `step` 0: whole.
fn windows(limits: Limits, stored: &[u8], step: usize, from: Option<Boundary>) -> Vec<Window> {
    let mut scanner = Scanner::new(Arc::default(), ScanLimits::default());
    let (mut tools, mut buffer, mut decode) = (Tools::default(), Buffer::default(), Decode::new(limits));
    let stands = from.is_some_and(|from| decode.begin_at(from, stored));
    let skip = if stands && step > 0 { usize::try_from(from.unwrap().offset).unwrap() } else { 0 };
    let mut reader = Steps(&stored[skip..], step);
    let mut input = if step == 0 { Input::Whole(stored) } else { Input::Read(&mut reader) };
    let mut windows = Vec::new();
    loop {
        let need = decode.need(&input);
        decode.fill(&mut tools, &mut input, &mut buffer).unwrap();
        assert!(buffer.len() <= need);
        let mut items = Vec::new();
        let ended = loop {
            match decode.next(&mut scanner, &mut buffer) {
                Item::Record { span, number } => {
                    items.push((number, span.of(&buffer).to_vec(), None));
                    assert!(decode.offset(span) >= from.unwrap_or_default().offset);
                }
                Item::LeftOut { what } => items.push((0, what.into(), None)),
                Item::Damage { number, damage, bytes, .. } => {
                    items.push((number, bytes.of(&buffer).to_vec(), Some((damage.reason, damage.offset))));
                }
                Item::WindowEnd => break false,
                Item::End => break true,
            }
        };
        let boundary = decode.boundary().filter(|_| !ended);
        windows.push(Window { items, boundary });
        if ended {
            return windows;
        }
    }
}

/// Goes on from every boundary there is; how many there are.
fn every_boundary(limits: Limits, stored: &[u8], step: usize) -> usize {
    let all = windows(limits, stored, step, None);
    let mut last = 0;
    let mut boundaries = 0;
    for (number, window) in all.iter().enumerate() {
        let Some(boundary) = window.boundary else { continue };
        assert!(boundary.offset > last);
        last = boundary.offset;
        boundaries += 1;
        let rest = windows(limits, stored, step, Some(boundary));
        assert_eq!(rest, all[number + 1..], "from {boundary:?}");
    }
    boundaries
}

fn lines(sizes: &[usize]) -> String {
    let line = |(id, size): (usize, &usize)| {
        record(u32::try_from(id).unwrap(), &format!(r#","x":"{}""#, "x".repeat(*size))) + "\n"
    };
    sizes.iter().enumerate().map(line).collect()
}

fn pack(text: &[u8], packing: u8, cut: usize) -> Vec<u8> {
    let (first, second) = text.split_at(cut.min(text.len()));
    let zstd = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
    match packing {
        0 => text.to_vec(),
        1 => gz(text),
        2 => [gz(first), gz(second)].concat(),
        3 => [gz(first), b"garbage".to_vec(), gz(second)].concat(),
        _ => [zstd(first), zstd(second)].concat(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_follows_a_boundary_is_the_same_from_there(
        sizes in prop::collection::vec(0usize..2500, 2..20), packing in 0u8..5, cut in 0usize..20_000,
        step in 0usize..3000, window in 300usize..9000,
        text_damage in prop::option::weighted(0.4, (0usize..20_000, any::<u8>())),
        stored_damage in prop::option::weighted(0.3, (0usize..20_000, any::<u8>())),
    ) {
        let mut text = lines(&sizes).into_bytes();
        if let Some((at, byte)) = text_damage {
            let at = at % text.len();
            text[at] = byte;
        }
        let mut stored = pack(&text, packing, cut);
        if let Some((at, byte)) = stored_damage {
            // Not in the magic number: then it is another object.
            let at = 12 + at % (stored.len() - 12);
            stored[at] = byte;
        }
        let limits = Limits { window, record: 2000, ..Limits::default() };
        every_boundary(limits, &stored, step);
        every_boundary(limits, &stored, 0);
    }
}

#[test]
fn lines_have_a_boundary_at_the_end_of_each_window_and_log_files_none() {
    let text = lines(&[200; 50]);
    for packing in [0, 1, 4] {
        let boundaries = every_boundary(small(), &pack(text.as_bytes(), packing, 9000), 0);
        assert!((3..6).contains(&boundaries), "{boundaries}");
    }
    let records: Vec<String> = text.lines().map(str::to_owned).collect();
    for object in [file(&records), format!("[{}]", records.join(",\n"))] {
        assert_eq!(every_boundary(small(), object.as_bytes(), 0), 0);
    }
}

#[test]
fn lines_have_no_limit_but_that_of_a_record() {
    let text = lines(&[0; 5000]);
    let limits = Limits { object: 500, records: 3, ratio: 2, ..small() };
    for text in [text.clone(), format!("\u{feff}{text}"), text.replace('\n', " \r\n "), lines(&[1000; 300])] {
        for packing in [0, 1, 4] {
            let stored = pack(text.as_bytes(), packing, 9000);
            for out in [run(limits, &stored, 0), run(limits, &stored, 700)] {
                assert_eq!((out.damages, out.records.len()), (vec![], text.matches('\n').count()));
            }
        }
    }
    // One line is lines, too; one that is a wrapper, or too long, is an object.
    let one = record(1, &format!(r#","x":"{}""#, "y".repeat(3 << 20)));
    let limits = Limits { record: 4 << 20, ..limits };
    assert_eq!(run(limits, &gz(one.as_bytes()), 0).damages, vec![]);
    assert_eq!(run(limits, &gz(file(std::slice::from_ref(&one)).as_bytes()), 0).damages.len(), 1);
    assert_eq!(run(Limits { record: 2 << 20, ..limits }, &gz(one.as_bytes()), 0).damages.len(), 1);
}

#[test]
fn an_object_that_ends_before_its_boundary_is_an_error() {
    let stored = gz(lines(&[10; 5]).as_bytes());
    let mut decode = Decode::new(small());
    assert!(!decode.begin_at(Boundary { offset: 1 << 20, number: 9 }, &stored));
    let filled = decode.fill(&mut Tools::default(), &mut Input::Whole(&stored), &mut Buffer::default());
    assert!(filled.is_err_and(|error| error.to_string().contains("before byte 1048576")));
}
