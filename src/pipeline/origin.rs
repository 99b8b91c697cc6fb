//! `trailship.origin`: where a record comes from, for those who ask for it and for records that carry a mark.
//!
//! | mark | why it is there |
//! |---|---|
//! | `later_gzip_member` | the record comes from a gzip member after the first: AWS writes one |
//! | `other_account` | the record says that it is of another account than its object's key: AWS keeps them apart |

use std::rc::Rc;

use crate::decode::Marks;
use crate::record::Record;
use crate::record::overlay::{Fragment, FragmentLeaf, Parent};
use crate::source::Origin;

/// Whether a record carries a mark.
pub fn is_marked(record: &Record<'_>, marks: Marks) -> bool {
    marks.later_member || record.identity.elsewhere
}

/// Adds the origin to a record.
pub fn add(record: &mut Record<'_>, origin: &Origin, number: u64, marks: Marks) {
    let leaf = |key: &str, value: serde_json::Value| FragmentLeaf {
        keys: vec!["origin".into(), key.into()],
        index: None,
        value: value.to_string().into_bytes().into(),
    };
    let mut leaves = vec![leaf("object", (*origin.address).into()), leaf("record", number.into())];
    if record.identity.elsewhere {
        leaves.push(leaf("other_account", true.into()));
    }
    if marks.later_member {
        leaves.push(leaf("later_gzip_member", true.into()));
    }
    record.overlay.added.push((Parent::Root, Rc::new(Fragment::once(leaves))));
}
