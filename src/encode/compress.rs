//! Compression of whole payloads: one gzip member, or one zstd frame, for each.

use std::io::Write as _;

/// How payloads are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// One gzip member for each payload, level 6.
    Gzip,
    /// One Zstandard frame for each payload, level 3.
    Zstd,
}

/// Compresses; one per thread, its contexts made on first use and kept (about 1.5 MiB).
#[derive(Default)]
pub struct Compressor {
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Compressor {
    /// Compresses `raw` into a buffer of its own; `None`: it is not to be compressed.
    ///
    /// # Errors
    /// Only what the compression library itself reports; none is expected on memory.
    pub fn compress(&mut self, how: Compression, raw: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
        match how {
            Compression::None => Ok(None),
            Compression::Gzip => {
                let into = Vec::with_capacity(raw.len() / 6 + 64);
                let mut encoder = flate2::write::GzEncoder::new(into, flate2::Compression::new(6));
                encoder.write_all(raw)?;
                encoder.finish().map(Some)
            }
            Compression::Zstd => {
                let context = match &mut self.zstd {
                    Some(context) => context,
                    none => none.insert(zstd::bulk::Compressor::new(3)?),
                };
                context.compress(raw).map(Some)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn what_was_compressed_reads_back() {
        let text = b"{\"eventName\":\"PutObject\"}\n".repeat(1000);
        let mut compressor = Compressor::default();
        let gzip = compressor.compress(Compression::Gzip, &text).unwrap().unwrap();
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, text);
        let frame = compressor.compress(Compression::Zstd, &text).unwrap().unwrap();
        assert_eq!(zstd::decode_all(&frame[..]).unwrap(), text);
        assert_eq!(compressor.compress(Compression::None, &text).unwrap(), None);
    }
}
