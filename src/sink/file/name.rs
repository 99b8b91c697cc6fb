//! Names of files: hidden while they grow, final when they are whole.

/// The hidden name of a part: `a/b.ndjson.gz` becomes `a/.b.000042.5f3a9c01.part`.
pub(super) fn part(partition: &str, sequence: u64, journal: u32) -> String {
    let (folder, stem, _) = split(partition);
    format!("{folder}.{stem}.{sequence:06}.{journal:08x}.part")
}

/// The final name: `a/b.ndjson.gz` becomes `a/b.000042.ndjson.gz`.
pub(super) fn whole(partition: &str, sequence: u64) -> String {
    let (folder, stem, extension) = split(partition);
    format!("{folder}{stem}.{sequence:06}{extension}")
}

/// Folder with its slash, stem, extension with its dot: the compression's, and one more of letters and digits before it.
fn split(partition: &str) -> (&str, &str, &str) {
    let (folder, name) = partition.split_at(partition.rfind('/').map_or(0, |slash| slash + 1));
    let plain = [".gz", ".zst"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    let extension = plain.rfind('.').filter(|dot| {
        let letters = &plain[dot + 1..];
        let fits =
            (1..=8).contains(&letters.len()) && letters.bytes().all(|byte| byte.is_ascii_alphanumeric());
        *dot > 0 && fits && !letters.bytes().all(|byte| byte.is_ascii_digit())
    });
    let (stem, extension) = name.split_at(extension.unwrap_or(plain.len()));
    (folder, stem, extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_stands_before_the_extension() {
        for (partition, wanted) in [
            ("111122223333/2026-01-15.ndjson.gz", "111122223333/2026-01-15.000042.ndjson.gz"),
            ("a/b.ndjson", "a/b.000042.ndjson"),
            ("a/b", "a/b.000042"),
            ("b.zst", "b.000042.zst"),
            ("a.b/c", "a.b/c.000042"),
            ("2026.01.15", "2026.01.15.000042"),
            (".hidden", ".hidden.000042"),
            (".gz", ".000042.gz"),
        ] {
            assert_eq!(whole(partition, 42), wanted);
        }
        assert_eq!(part("a/b.ndjson.gz", 42, 7), "a/.b.000042.00000007.part");
        assert_eq!(whole("a.ndjson", 12_345_678), "a.12345678.ndjson");
    }

    #[test]
    fn two_partitions_never_share_a_name() {
        // `b` and `b.000001`: the sequence of the one is not the other's text.
        assert_ne!(whole("b.000001", 2), whole("b", 1));
        assert_ne!(whole("b.ndjson", 1), whole("b", 1));
    }
}
