//! The key of a data directory's rejects, and the keyed hash (HMAC-SHA-256) over each entry: what was not written by a
//! program with this data directory is never shipped again as if it were.
//!
//! Source: RFC 2104 (a key shorter than a block is filled up with zeros).

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use hmac::digest::Key as Block;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// The key's file in the data directory.
const FILE: &str = "rejects.key";
/// Bytes of the key.
const LENGTH: usize = 32;
/// Digits of a keyed hash as text.
pub(super) const DIGITS: usize = 64;

/// The key.
#[derive(Clone)]
pub struct Key([u8; LENGTH]);

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Key")
    }
}

impl Key {
    /// Reads the key of a data directory; `None`: it has none, and so no entries of its own.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(data_dir: &Path) -> io::Result<Option<Key>> {
        let path = data_dir.join(FILE);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| about("opening", &path, &error))?,
        };
        let mut text = Vec::with_capacity(LENGTH + 1);
        let read = file.take(LENGTH as u64 + 1).read_to_end(&mut text);
        read.map_err(|error| about("reading", &path, &error))?;
        match text.try_into() {
            Ok(key) => Ok(Some(Key(key))),
            Err(_) => Err(io::Error::other(format!(
                "{} is not the key of these rejects ({LENGTH} bytes): put it back, or move it away, and entries written before can no longer be replayed",
                path.display()
            ))),
        }
    }

    /// A key for entries that nobody stores.
    pub(super) const fn none() -> Key {
        Key([0; LENGTH])
    }

    /// Reads the key, or makes one. Whoever calls holds the data directory's lock.
    ///
    /// # Errors
    /// It cannot be read or written, or is none.
    pub fn read_or_make(data_dir: &Path) -> io::Result<Key> {
        if let Some(key) = Key::read(data_dir)? {
            fs::set_permissions(data_dir.join(FILE), Permissions::from_mode(0o600))?;
            return Ok(key);
        }
        let mut key = [0; LENGTH];
        let mut filled = 0;
        while filled < LENGTH {
            filled += rustix::rand::getrandom(&mut key[filled..], rustix::rand::GetRandomFlags::empty())?;
        }
        // Under another name first: a key that a crash left half written would disown every entry.
        let (new, path) = (data_dir.join(".rejects.key.new"), data_dir.join(FILE));
        let made = (|| {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(&key)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(data_dir)?.sync_all()
        })();
        made.map_err(|error| about("writing", &path, &error))?;
        Ok(Key(key))
    }

    /// Begins a keyed hash.
    pub(super) fn seal(&self) -> Seal {
        let mut block = Block::<Hmac<Sha256>>::default();
        block[..LENGTH].copy_from_slice(&self.0);
        Seal(Hmac::new(&block))
    }
}

/// A keyed hash that grows.
pub(super) struct Seal(Hmac<Sha256>);

impl Seal {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// As hexadecimal digits.
    pub(super) fn digits(self) -> String {
        let mut digits = String::with_capacity(DIGITS);
        for byte in self.0.finalize().into_bytes() {
            for half in [byte >> 4, byte & 15] {
                digits.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
            }
        }
        digits
    }

    /// Whether these are its digits; takes the same time wherever they differ.
    pub(super) fn is(self, digits: &[u8]) -> bool {
        // As they were written, in small letters: not a byte of an entry can change.
        let value = |digit: u8| match digit {
            b'A'..=b'F' => None,
            _ => char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()),
        };
        let bytes: Option<Vec<u8>> = digits
            .chunks(2)
            .map(|pair| match *pair {
                [high, low] => Some(value(high)? << 4 | value(low)?),
                _ => None,
            })
            .collect();
        bytes.is_some_and(|bytes| self.0.verify_slice(&bytes).is_ok())
    }
}

fn about(doing: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{doing} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn the_key_is_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Key::read(folder.path()).unwrap().is_none());
        let key = Key::read_or_make(folder.path()).unwrap();
        assert_eq!(Key::read_or_make(folder.path()).unwrap().0, key.0);
        assert_eq!(Key::read(folder.path()).unwrap().unwrap().0, key.0);
        assert_ne!(key.0, [0; LENGTH]);
        let facts = fs::metadata(folder.path().join(FILE)).unwrap();
        assert_eq!((facts.mode() & 0o777, facts.len()), (0o600, 32));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        for wrong in ["", "short", "a key of more than thirty-two bytes"] {
            fs::write(folder.path().join(FILE), wrong).unwrap();
            assert!(Key::read_or_make(folder.path()).unwrap_err().to_string().contains("32 bytes"));
        }
    }

    #[test]
    fn a_seal_is_that_of_its_bytes_and_key() {
        let key = Key([7; LENGTH]);
        let sealed = |key: &Key, text: &[u8]| {
            let mut seal = key.seal();
            seal.add(text);
            seal
        };
        let digits = sealed(&key, b"bytes").digits();
        assert_eq!(digits.len(), DIGITS);
        assert!(sealed(&key, b"bytes").is(digits.as_bytes()));
        assert!(!sealed(&key, b"bytes").is(digits.to_ascii_uppercase().as_bytes()));
        assert!(!sealed(&key, b"Bytes").is(digits.as_bytes()));
        assert!(!sealed(&Key([8; LENGTH]), b"bytes").is(digits.as_bytes()));
        assert!(!sealed(&key, b"bytes").is(&digits.as_bytes()[..63]) && !sealed(&key, b"bytes").is(b"zz"));
    }
}
