//! Changing the state by hand: only while nothing runs, and all of a change or nothing.

use std::path::Path;
use std::sync::Arc;

use anyhow::bail;

use super::cursor::{Name, nothing};
use crate::cli::Surroundings;
use crate::cli::text::count;
use crate::state::{Op, Store};

/// Forgets a source.
pub(super) fn remove(data_dir: &Path, name: &Name, around: &Surroundings) -> anyhow::Result<String> {
    let store = Store::open(data_dir, &around.clock)?;
    let spaces = name.spaces(&store)?;
    if spaces.is_empty() {
        return Err(nothing(name));
    }
    let mut ops = Vec::new();
    for (space, _) in &spaces {
        let named: Arc<str> = space.as_str().into();
        store.each(space, |key, _| ops.push(Op::Delete { space: named.clone(), key: key.to_vec() }))?;
    }
    store.commit(&ops)?;
    Ok(format!(
        "{name} is forgotten ({} entries): the next run ships what is there again\n",
        count(ops.len() as u64)
    ))
}

/// Moves what is remembered of a source to another name.
pub(super) fn rename(
    data_dir: &Path,
    from: &Name,
    to: &Name,
    around: &Surroundings,
) -> anyhow::Result<String> {
    let store = Store::open(data_dir, &around.clock)?;
    let spaces = from.spaces(&store)?;
    if spaces.is_empty() {
        return Err(nothing(from));
    }
    if from == to {
        bail!("{from} is its name already");
    }
    if !to.spaces(&store)?.is_empty() {
        bail!("something is remembered of {to} already: `trailship state rm {to}` forgets it");
    }
    let mut ops = Vec::new();
    let mut entries = 0;
    for (space, number) in &spaces {
        let Some((kind, more)) = from.split(space) else { continue };
        let old: Arc<str> = space.as_str().into();
        let new: Arc<str> = format!("{kind}/{}/{}{more}", to.pipeline, to.source).into();
        let mut deleted = Vec::new();
        store.each(space, |key, value| {
            ops.push(Op::Put { space: new.clone(), key: key.to_vec(), value: value.to_vec() });
            deleted.push(Op::Delete { space: old.clone(), key: key.to_vec() });
        })?;
        ops.append(&mut deleted);
        entries += number;
    }
    store.commit(&ops)?;
    Ok(format!("{from} is {to} now ({} entries)\n", count(entries)))
}
