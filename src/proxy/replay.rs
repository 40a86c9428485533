//! The head of a request, kept while it is sent: whoever sends it takes it, and it may have to be sent again.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

/// A head in one piece of memory.
///
/// Nearly every request has one, and nearly none needs it: a clone of the map would be five allocations, and one more for
/// each value that was whole until then.
pub(super) struct KeptHead {
    method: Method,
    uri: Uri,
    /// Each field: the lengths of its name and its value, whether it is sensitive, name, value.
    fields: Vec<u8>,
    count: usize,
}

/// Bytes before the name of a field.
const LENGTHS: usize = 9;

/// Bytes of most heads, with what keygate adds.
const USUAL: usize = 1024;

impl KeptHead {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let headers = request.headers();
        let mut fields = Vec::with_capacity(USUAL);
        for (name, value) in headers {
            let name = name.as_str().as_bytes();
            let mut lengths = [u8::from(value.is_sensitive()); LENGTHS];
            lengths[..4].copy_from_slice(&length(name.len()));
            lengths[4..8].copy_from_slice(&length(value.len()));
            fields.extend_from_slice(&lengths);
            fields.extend_from_slice(name);
            fields.extend_from_slice(value.as_bytes());
        }
        KeptHead {
            method: request.method().clone(),
            uri: request.uri().clone(),
            fields,
            count: headers.len(),
        }
    }

    /// The request again, with this body.
    pub(super) fn with<B>(self, body: B) -> Request<B> {
        let mut headers = HeaderMap::with_capacity(self.count);
        let mut rest = &self.fields[..];
        while let Some((lengths, after)) = rest.split_first_chunk::<LENGTHS>() {
            let [a, b, c, d, e, f, g, h, sensitive] = *lengths;
            let (name, after) = after.split_at(size([a, b, c, d]));
            let (value, after) = after.split_at(size([e, f, g, h]));
            let name = HeaderName::from_bytes(name).expect("it was one");
            let mut value = HeaderValue::from_bytes(value).expect("it was one");
            value.set_sensitive(sensitive == 1);
            headers.append(name, value);
            rest = after;
        }
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = headers;
        request
    }
}

fn length(bytes: usize) -> [u8; 4] {
    let bytes = u32::try_from(bytes).expect("a head is at most some megabytes");
    bytes.to_ne_bytes()
}

fn size(bytes: [u8; 4]) -> usize {
    u32::from_ne_bytes(bytes) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_as_it_was() {
        let mut secret = HeaderValue::from_static("s");
        secret.set_sensitive(true);
        let mut request = Request::delete("/v3/users/a?b=c").body(()).unwrap();
        let headers = request.headers_mut();
        headers.append("cookie", secret);
        headers.append("x-two", HeaderValue::from_static("1"));
        headers.append("accept", HeaderValue::from_static(""));
        headers.append("x-two", HeaderValue::from_bytes(b"\xff 2").unwrap());
        let again = KeptHead::of(&request).with(());
        assert_eq!(again.method(), request.method());
        assert_eq!(again.uri(), request.uri());
        let fields = |request: &Request<()>| {
            let list = request.headers().iter();
            list.map(|(name, value)| (name.clone(), value.clone(), value.is_sensitive()))
                .collect::<Vec<_>>()
        };
        assert_eq!(fields(&again), fields(&request));
    }
}
