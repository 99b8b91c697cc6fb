//! Objects of a bucket: asked for whole, or from where a connection broke off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::RequestPayer;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::aws::{Aws, Kind, Refusal};
use crate::source::{FetchError, Pieces, Remote, SourceError};

/// A bucket as a source of objects.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// The client, for the bucket's region.
    pub(crate) client: Client,
    /// Its name.
    pub(crate) name: String,
    /// Who pays for requests.
    pub(crate) payer: Option<RequestPayer>,
    /// The account that must own it.
    pub(crate) owner: Option<String>,
    /// Who asks, for messages.
    pub(crate) who: String,
    /// Whether an object was read since the last refusal that may be about all of them.
    pub(crate) readable: AtomicBool,
}

impl Bucket {
    /// Finds a bucket's region, and makes a client for it.
    pub(crate) async fn find(
        name: &str,
        aws: &Aws,
        owner: Option<String>,
        requester_pays: bool,
    ) -> Result<Bucket, SourceError> {
        let mut loaded = aws.load(None).await;
        let (who, mut client) = (aws.who(), aws.s3(&loaded));
        if aws.region.is_none() {
            let asked =
                client.head_bucket().bucket(name).set_expected_bucket_owner(owner.clone()).send().await;
            let region = match asked {
                Ok(output) => output.bucket_region().map(str::to_owned),
                Err(error) => {
                    let refusal = Refusal::of(&error);
                    match (refusal.region.clone(), refusal.kind) {
                        (Some(region), _) => Some(region),
                        // Without s3:ListBucket the region may not be told; what is asked for next will say more.
                        (None, Kind::Denied) => None,
                        (None, _) if refusal.said == "status 400" => None,
                        (None, Kind::Gone | Kind::NoPlace) => {
                            return Err(SourceError::Stop(format!(
                                "there is no bucket `{name}` ({})",
                                refusal.said
                            )));
                        }
                        _ => {
                            let text = refusal.advice(&format!("s3://{name}"), &who, "s3:ListBucket");
                            return Err(SourceError::Retry(text));
                        }
                    }
                }
            };
            if let Some(region) =
                region.filter(|region| loaded.region().is_none_or(|known| known.as_ref() != region))
            {
                loaded = aws.load(Some(&region)).await;
                client = aws.s3(&loaded);
            }
        }
        Ok(Bucket {
            client,
            name: name.to_owned(),
            payer: requester_pays.then_some(RequestPayer::Requester),
            owner,
            who,
            readable: AtomicBool::new(false),
        })
    }

    /// An object's address, for people.
    pub(crate) fn address(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }
}

/// One object.
pub(crate) struct Object {
    /// Where it is.
    pub(crate) bucket: Arc<Bucket>,
    /// Its key.
    pub(crate) key: String,
    /// Its key read another way, tried where there is none of the first.
    pub(crate) other_key: Option<String>,
    /// Bytes, where that was told.
    pub(crate) size: Option<u64>,
    /// Whether others need not wait until the bucket can be read: anybody may have named it.
    pub(crate) gives_way: bool,
    /// Its tag as told.
    pub(crate) tag: Option<String>,
    /// Its tag as it came. What has another when a connection broke off is not put together.
    came: Mutex<Option<String>>,
}

impl Object {
    /// An object of which only the key is known.
    pub(crate) fn new(bucket: Arc<Bucket>, key: String) -> Object {
        Object {
            bucket,
            key,
            other_key: None,
            size: None,
            gives_way: false,
            tag: None,
            came: Mutex::default(),
        }
    }

    /// The tag that the rest of it has to have.
    fn same(&self) -> Option<String> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner).clone().or_else(|| self.tag.clone())
    }

    async fn ask(&self, key: &str, from: u64) -> Result<Box<dyn Pieces>, (Kind, FetchError)> {
        let bucket = &*self.bucket;
        let request = bucket.client.get_object().bucket(&bucket.name).key(key);
        let request = request
            .set_range((from > 0).then(|| format!("bytes={from}-")))
            .set_if_match(if from > 0 { self.same() } else { None })
            .set_request_payer(bucket.payer.clone())
            .set_expected_bucket_owner(bucket.owner.clone());
        match request.send().await {
            Ok(output) => {
                bucket.readable.store(true, Ordering::Relaxed);
                if from == 0 {
                    let length = output.content_length().and_then(|length| u64::try_from(length).ok());
                    if let (Some(told), Some(length)) = (self.size, length)
                        && told != length
                    {
                        let address = bucket.address(key);
                        let text =
                            format!("{address} was replaced: it has {length} bytes, not {told} as was told");
                        return Err((Kind::Replaced, FetchError::Object(text)));
                    }
                    let tag = output.e_tag().map(str::to_owned);
                    *self.came.lock().unwrap_or_else(PoisonError::into_inner) = tag;
                }
                Ok(Box::new(Coming { body: output.body, address: bucket.address(key) }))
            }
            Err(error) => Err(self.refused(key, &Refusal::of(&error))),
        }
    }

    async fn head(&self, key: &str) -> Result<u64, (Kind, FetchError)> {
        let bucket = &*self.bucket;
        let request = bucket.client.head_object().bucket(&bucket.name).key(key);
        let request =
            request.set_request_payer(bucket.payer.clone()).set_expected_bucket_owner(bucket.owner.clone());
        match request.send().await {
            Ok(output) => Ok(u64::try_from(output.content_length().unwrap_or_default()).unwrap_or_default()),
            Err(error) => Err(self.refused(key, &Refusal::of(&error))),
        }
    }

    fn refused(&self, key: &str, refusal: &Refusal) -> (Kind, FetchError) {
        let bucket = &*self.bucket;
        let permission = format!("s3:GetObject on arn:aws:s3:::{}/*", bucket.name);
        let text = refusal.advice(&bucket.address(key), &bucket.who, &permission);
        let error = match refusal.kind {
            Kind::Gone | Kind::Archived | Kind::Replaced => FetchError::Object(text),
            // Where nothing at all may be read, it is not about this object.
            Kind::Denied | Kind::Key if bucket.readable.load(Ordering::Relaxed) => FetchError::Object(text),
            Kind::Denied | Kind::Key | Kind::NoPlace if self.gives_way => FetchError::Place(text),
            _ => FetchError::Retry(text),
        };
        (refusal.kind, error)
    }
}

impl Remote for Object {
    fn size(&self) -> Option<u64> {
        self.size
    }

    fn ask_size(&self) -> BoxFuture<'_, Result<u64, FetchError>> {
        async {
            let asked = match (self.head(&self.key).await, &self.other_key) {
                (Err((Kind::Gone, error)), Some(other)) => {
                    self.head(other).await.map_err(|_| (Kind::Gone, error))
                }
                (asked, _) => asked,
            };
            match asked {
                // Such an answer has no words: those that tell S3 from KMS, and who was refused what, come with a reading.
                Err((Kind::Denied | Kind::Gone, error)) => Err(self.open(0).await.err().unwrap_or(error)),
                asked => asked.map_err(|(_, error)| error),
            }
        }
        .boxed()
    }

    fn open(&self, from: u64) -> BoxFuture<'_, Result<Box<dyn Pieces>, FetchError>> {
        async move {
            match (self.ask(&self.key, from).await, &self.other_key) {
                (Err((Kind::Gone, error)), Some(other)) => self.ask(other, from).await.map_err(|_| error),
                (asked, _) => asked.map_err(|(_, error)| error),
            }
        }
        .boxed()
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
