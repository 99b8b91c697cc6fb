//! Validates a container without an index, and counts its leaves.

use super::{Scan, string};

/// Where the container ends that begins at `at`, and how many leaves it has; at most `depth` containers are open at once.
///
/// # Errors
///
/// [`Scan::Incomplete`] or [`Scan::Invalid`].
pub(super) fn skip(buffer: &[u8], mut at: usize, depth: usize) -> Result<(usize, usize), Scan> {
    let mut open = Vec::new();
    let mut leaves = 0;
    'value: loop {
        let byte = blanks(buffer, &mut at)?;
        match byte {
            b'{' | b'[' => {
                if open.len() >= depth {
                    return Err(Scan::Invalid { at, reason: "nested deeper than 128" });
                }
                let close = byte + 2; // in ASCII the closing bracket is two behind the opening one
                at += 1;
                if blanks(buffer, &mut at)? != close {
                    open.push(close);
                    if byte == b'{' {
                        key(buffer, &mut at)?;
                    }
                    continue 'value;
                }
                at += 1;
            }
            b'"' => at = string::whole(buffer, at, at + 1)?.end,
            _ => {
                let invalid = Scan::Invalid { at, reason: "expected a value" };
                at = string::other(buffer, at).map_err(|scan| scan.unwrap_or(invalid))?;
            }
        }
        leaves += 1;
        loop {
            let Some(&close) = open.last() else { return Ok((at, leaves)) };
            let byte = blanks(buffer, &mut at)?;
            if byte == b',' {
                at += 1;
                if close == b'}' {
                    key(buffer, &mut at)?;
                }
                continue 'value;
            }
            if byte != close {
                return Err(Scan::Invalid { at, reason: "expected a comma or a closing bracket" });
            }
            at += 1;
            open.pop();
        }
    }
}

/// Skips blanks; the byte after them.
fn blanks(buffer: &[u8], at: &mut usize) -> Result<u8, Scan> {
    loop {
        match buffer.get(*at) {
            None => return Err(Scan::Incomplete),
            Some(b' ' | b'\t' | b'\n' | b'\r') => *at += 1,
            Some(&byte) => return Ok(byte),
        }
    }
}

/// Skips a key and its colon.
fn key(buffer: &[u8], at: &mut usize) -> Result<(), Scan> {
    if blanks(buffer, at)? != b'"' {
        return Err(Scan::Invalid { at: *at, reason: "expected a key" });
    }
    *at = string::whole(buffer, *at, *at + 1)?.end;
    if blanks(buffer, at)? != b':' {
        return Err(Scan::Invalid { at: *at, reason: "expected a colon" });
    }
    *at += 1;
    Ok(())
}
