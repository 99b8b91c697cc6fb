use super::*;
use crate::record::Slots;

#[test]
fn a_path_is_interned_once_and_knows_its_slot() {
    let mut slots = Slots::default();
    let wanted = slots.want("resources.ARN");
    let mut paths = Paths::new(SlotTree::new(&slots));
    let list = paths.enter(PathId::ROOT, Segment::Key(b"resources"));
    let first = paths.enter(list, Segment::Index(0));
    let leaf = paths.enter(first, Segment::Key(b"ARN"));
    assert_eq!(paths.enter(first, Segment::Key(b"ARN")), leaf);
    assert_eq!(paths.known(first, Segment::Key(b"ARN")), Ok(leaf));
    assert_eq!(paths.slot(leaf), Some(wanted));
    assert_eq!(paths.slot(list), None);
    assert_eq!(paths.dotted(leaf), "resources.ARN");
    assert_eq!(paths.depth(leaf), 3);
    let dotted = paths.temporary(PathId::ROOT, Segment::Key(b"resources.\\u0041RN"), Err(None));
    assert!(dotted.is_temporary());
    assert_eq!(paths.slot(dotted), Some(wanted));
    let empty = paths.enter(PathId::ROOT, Segment::Key(b""));
    let below = paths.enter(empty, Segment::Key(b"resources.ARN"));
    assert_eq!(paths.slot(below), None);
}

#[test]
fn far_elements_share_a_state_and_keep_their_index() {
    let mut paths = Paths::new(SlotTree::new(&Slots::default()));
    let list = paths.enter(PathId::ROOT, Segment::Key(b"list"));
    let far = paths.enter(list, Segment::Index(FAR));
    let place = paths.enter(far, Segment::Key(b"place"));
    let leaf = paths.enter(place, Segment::Key(b"zone"));
    let next = paths.follow(leaf, leaf, 3, true);
    let steps: Vec<_> = paths.segments(next).collect();
    assert_eq!(
        steps,
        [Segment::Key(b"list"), Segment::Index(33), Segment::Key(b"place"), Segment::Key(b"zone")]
    );
    assert_eq!(paths.twin(next), Some(leaf));
    let other = paths.enter(place, Segment::Key(b"other"));
    let beside = paths.follow(next, other, 1, false);
    assert_eq!(paths.parent(beside), paths.parent(next));
    assert_eq!(paths.last(beside), Some(Segment::Key(b"other")));
    let after = paths.enter(PathId::ROOT, Segment::Key(b"after"));
    assert_eq!(paths.follow(beside, after, 4, false), after);
}

#[test]
fn escapes_are_undone_and_half_pairs_replaced() {
    assert_eq!(unescape(br"a\u0041\n\\\/\ud83d\ude00"), "aA\n\\/\u{1F600}");
    assert_eq!(unescape(br"\ud83d!"), "\u{FFFD}!");
    assert_eq!(unescape(br"\ude00\u00"), "\u{FFFD}\u{FFFD}");
}
