//! `trailship.origin`: where a record comes from, for those who ask for it and for records that carry a mark.

use std::sync::Arc;

use crate::decode::Marks;
use crate::record::Record;
use crate::record::overlay::{Fragment, FragmentLeaf, Parent};
use crate::source::Origin;

/// Adds the origin to a record.
pub fn add(record: &mut Record<'_>, origin: &Origin, number: u64, marks: Marks) {
    let leaf = |key: &str, value: serde_json::Value| FragmentLeaf {
        keys: vec!["origin".into(), key.into()],
        index: None,
        value: value.to_string().into_bytes().into(),
    };
    let mut leaves = vec![leaf("object", (*origin.address).into()), leaf("record", number.into())];
    if marks.later_member {
        leaves.push(leaf("later_gzip_member", true.into()));
    }
    record.overlay.added.push((Parent::Root, Arc::new(Fragment::once(leaves))));
}
