//! Objects of a bucket: asked for whole, or from where a connection broke off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::RequestPayer;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::aws::{Kind, Refusal};
use crate::source::{FetchError, Pieces, Remote};

/// A bucket as a source of objects.
#[derive(Debug)]
pub(super) struct Bucket {
    /// The client, for the bucket's region.
    pub(super) client: Client,
    /// Its name.
    pub(super) name: String,
    /// Who pays for requests.
    pub(super) payer: Option<RequestPayer>,
    /// The account that must own it.
    pub(super) owner: Option<String>,
    /// Who asks, for messages.
    pub(super) who: String,
    /// Whether an object was read since the last refusal that may be about all of them.
    pub(super) readable: AtomicBool,
}

impl Bucket {
    /// An object's address, for people.
    pub(super) fn address(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }
}

/// One object.
pub(super) struct Object {
    /// Where it is.
    pub(super) bucket: Arc<Bucket>,
    /// Its key.
    pub(super) key: String,
    /// Bytes, as listed.
    pub(super) size: u64,
    /// Its tag as listed; what has another by now is not read.
    pub(super) tag: Option<String>,
}

impl Object {
    async fn ask(&self, from: u64) -> Result<Box<dyn Pieces>, FetchError> {
        let bucket = &*self.bucket;
        let request = bucket.client.get_object().bucket(&bucket.name).key(&self.key);
        let request = request
            .set_range((from > 0).then(|| format!("bytes={from}-")))
            .set_if_match(self.tag.clone().filter(|_| from > 0))
            .set_request_payer(bucket.payer.clone())
            .set_expected_bucket_owner(bucket.owner.clone());
        match request.send().await {
            Ok(output) => {
                bucket.readable.store(true, Ordering::Relaxed);
                Ok(Box::new(Coming { body: output.body, address: bucket.address(&self.key) }))
            }
            Err(error) => {
                let refusal = Refusal::of(&error);
                let permission = format!("s3:GetObject on arn:aws:s3:::{}/*", bucket.name);
                let text = refusal.advice(&bucket.address(&self.key), &bucket.who, &permission);
                Err(match refusal.kind {
                    Kind::Gone | Kind::Archived | Kind::Replaced => FetchError::Object(text),
                    // Where nothing at all may be read, it is not about this object.
                    Kind::Denied | Kind::Key if bucket.readable.load(Ordering::Relaxed) => {
                        FetchError::Object(text)
                    }
                    _ => FetchError::Retry(text),
                })
            }
        }
    }
}

impl Remote for Object {
    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self, from: u64) -> BoxFuture<'_, Result<Box<dyn Pieces>, FetchError>> {
        self.ask(from).boxed()
    }
}

/// An object's bytes on their way.
struct Coming {
    body: ByteStream,
    address: String,
}

impl Pieces for Coming {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, FetchError>> {
        async {
            let next = self.body.next().await.transpose();
            next.map_err(|error| FetchError::Retry(format!("reading {}: {error}", self.address)))
        }
        .boxed()
    }
}
